# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ttyplugd_global_optspecs
    string join \n h/help V/version
end

function __fish_ttyplugd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ttyplugd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ttyplugd_using_subcommand
    set -l cmd (__fish_ttyplugd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -s V -l version -d 'Print version'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "run" -d 'Run the daemon. SIGTERM stops it, SIGHUP reloads the configuration'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "ports" -d 'List the serial devices of this machine, and how to match each of them'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "status" -d 'Show the state of every port in every container, and every held open'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "wait" -d 'Wait until a port is ready in all of its containers, or in one'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "add" -d 'Make a plugged-in device a port of a container. Without arguments it asks, on a terminal'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "remove" -d 'Remove a port that `add` has added'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "check" -d 'Find everything that keeps ports from working, and how to fix it'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "plan" -d 'Show what the daemon would do now, without changing anything'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "runtime" -d 'Register ttyplug-runtime in Docker\'s daemon.json, or unregister it'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l config -d 'Configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, if it exists]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l state-dir -d 'Directory of what the daemon keeps for the next boot' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l log-format -d 'Log to the journal or to standard error' -r -f -a "auto\t'The journal where standard error is connected to it, else text'
journal\t'The journal'
text\t'Text on standard error'"
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand ports" -l json -d 'Print JSON, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand ports" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l watch -d 'Keep running and show every change; with --json one object per line'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l json -d 'Print JSON, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l container -d 'Wait for this container alone. [default: all running containers of the port]' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l timeout -d 'Longest time to wait: a time such as 60s or 5m, or forever' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l device -d 'Its device: ttyACM0, /dev/ttyACM0 or a link such as /dev/serial/by-id/NAME' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l container -d 'Its container: a name, or PROJECT/SERVICE of compose. It need not exist yet' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l node -d 'Its path in the container. [default: /dev/ and the name of the port]' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l config -d 'Configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, if it exists]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -l dry-run -d 'Print the file, and write nothing'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand add" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand remove" -l config -d 'Configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, if it exists]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand remove" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand remove" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l config -d 'Configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, if it exists]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l state-dir -d 'Directory of what the daemon keeps for the next boot' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l json -d 'Print JSON, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l run-dir -d 'Directory of the lock, the sockets and the record of what was made' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l config -d 'Configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, if it exists]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l state-dir -d 'Directory of what the daemon keeps for the next boot' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l json -d 'Print JSON, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "enable" -d 'Register the runtime, so containers can use `runtime: ttyplug`'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "disable" -d 'Unregister the runtime, unless containers use it'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "status" -d 'Show whether the runtime is registered, whether it works, and which containers use it'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from enable" -l file -d 'Docker\'s configuration file; with it the command is about Docker alone. [default: the file that the running dockerd reads, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -l file -d 'Docker\'s configuration file; with it the command is about Docker alone. [default: the file that the running dockerd reads, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -l force -d 'Unregister it even if containers use it. They will never start again'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -l file -d 'Docker\'s configuration file; with it the command is about Docker alone. [default: the file that the running dockerd reads, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -l json -d 'Print JSON, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand completions" -s h -l help -d 'Print help'
