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
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "run" -d 'Serve containers until told to stop (SIGTERM); SIGHUP reads the configuration again'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "ports" -d 'Show the serial devices that are plugged in, and how to match each of them'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "status" -d 'Show every port in every container as the running daemon sees it, and every open that waits'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "wait" -d 'Wait until a port is ready, in every container that is to have it or in one'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "check" -d 'Show everything that would stop a port from working, and what to do about it'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "plan" -d 'Show what the daemon would do now, without doing it'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "runtime" -d 'Register ttyplug-runtime in Docker\'s daemon.json, or take it out again'
complete -c ttyplugd -n "__fish_ttyplugd_needs_command" -f -a "completions" -d 'Print completions for a shell, as the package installs them'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l config -d 'The configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, where there is one]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l state-dir -d 'What outlives the daemon' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l run-dir -d 'Where the lock and the sockets are' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -l log-format -d 'Where log lines go' -r -f -a "auto\t'The journal where standard error is connected to it, else text'
journal\t'The journal'
text\t'Text on standard error'"
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand ports" -l json -d 'Print one JSON object, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand ports" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l run-dir -d 'Where the lock and the sockets are' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l watch -d 'Go on to show it whenever it changes, until interrupted; with --json one object a line'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -l json -d 'Print one JSON object, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l container -d 'The container in which it has to be ready; without it, every one that runs and is to have the port' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l timeout -d 'For how long to wait at most: a time such as 60s or 5m, or forever' -r
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -l run-dir -d 'Where the lock and the sockets are' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand wait" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l run-dir -d 'Where the lock and the sockets are' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l config -d 'The configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, where there is one]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l state-dir -d 'What outlives the daemon' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -l json -d 'Print one JSON object, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand check" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l config -d 'The configuration file; drop-ins are read from conf.d beside it. [default: /etc/ttyplugd/config.toml, where there is one]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l state-dir -d 'What outlives the daemon' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -l json -d 'Print one JSON object, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand plan" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "enable" -d 'Register the runtime, so that containers can have `runtime: ttyplug`'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "disable" -d 'Take the runtime out again, if no container uses it any more'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and not __fish_seen_subcommand_from enable disable status" -f -a "status" -d 'Show whether the runtime is registered, whether it works, and who uses it'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from enable" -l file -d 'The engine\'s configuration file. [default: the one that dockerd was started with, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -l file -d 'The engine\'s configuration file. [default: the one that dockerd was started with, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -l force -d 'Even if containers use it, which will never start again then'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -l file -d 'The engine\'s configuration file. [default: the one that dockerd was started with, or /etc/docker/daemon.json]' -r -F
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -l json -d 'Print one JSON object, for programs'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand runtime; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c ttyplugd -n "__fish_ttyplugd_using_subcommand completions" -s h -l help -d 'Print help'
