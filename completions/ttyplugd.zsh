#compdef ttyplugd

autoload -U is-at-least

_ttyplugd() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_ttyplugd_commands" \
"*::: :->ttyplugd" \
&& ret=0
    case $state in
    (ttyplugd)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:ttyplugd-command-$line[1]:"
        case $line[1] in
            (run)
_arguments "${_arguments_options[@]}" : \
'--config=[Configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, if it exists\]]:FILE:_files' \
'--state-dir=[Directory of what the daemon keeps for the next boot]:DIR:_files' \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'--log-format=[Log to the journal or to standard error]:LOG_FORMAT:((auto\:"The journal where standard error is connected to it, else text"
journal\:"The journal"
text\:"Text on standard error"))' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(ports)
_arguments "${_arguments_options[@]}" : \
'--json[Print JSON, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'--watch[Keep running and show every change; with --json one object per line]' \
'--json[Print JSON, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(wait)
_arguments "${_arguments_options[@]}" : \
'--container=[Wait for this container alone. \[default\: all running containers of the port\]]:NAME:_default' \
'--timeout=[Longest time to wait\: a time such as 60s or 5m, or forever]:TIME:_default' \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'-h[Print help]' \
'--help[Print help]' \
':port -- Name of the port:_default' \
&& ret=0
;;
(add)
_arguments "${_arguments_options[@]}" : \
'--device=[Its device\: ttyACM0, /dev/ttyACM0 or a link such as /dev/serial/by-id/NAME]:DEVICE:_default' \
'--container=[Its container\: a name, or PROJECT/SERVICE of compose. It need not exist yet]:NAME:_default' \
'--node=[Its path in the container. \[default\: /dev/ and the name of the port\]]:PATH:_default' \
'--config=[Configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, if it exists\]]:FILE:_files' \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'--dry-run[Print the file, and write nothing]' \
'-h[Print help]' \
'--help[Print help]' \
'::name -- Name of the port:_default' \
&& ret=0
;;
(remove)
_arguments "${_arguments_options[@]}" : \
'--config=[Configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, if it exists\]]:FILE:_files' \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'-h[Print help]' \
'--help[Print help]' \
':name -- Name of the port:_default' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'--config=[Configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, if it exists\]]:FILE:_files' \
'--state-dir=[Directory of what the daemon keeps for the next boot]:DIR:_files' \
'--json[Print JSON, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(plan)
_arguments "${_arguments_options[@]}" : \
'--run-dir=[Directory of the lock, the sockets and the record of what was made]:DIR:_files' \
'--config=[Configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, if it exists\]]:FILE:_files' \
'--state-dir=[Directory of what the daemon keeps for the next boot]:DIR:_files' \
'--json[Print JSON, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(runtime)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_ttyplugd__subcmd__runtime_commands" \
"*::: :->runtime" \
&& ret=0

    case $state in
    (runtime)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:ttyplugd-runtime-command-$line[1]:"
        case $line[1] in
            (enable)
_arguments "${_arguments_options[@]}" : \
'--file=[Docker'\''s configuration file; with it the command is about Docker alone. \[default\: the file that the running dockerd reads, or /etc/docker/daemon.json\]]:FILE:_files' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disable)
_arguments "${_arguments_options[@]}" : \
'--file=[Docker'\''s configuration file; with it the command is about Docker alone. \[default\: the file that the running dockerd reads, or /etc/docker/daemon.json\]]:FILE:_files' \
'--force[Unregister it even if containers use it. They will never start again]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--file=[Docker'\''s configuration file; with it the command is about Docker alone. \[default\: the file that the running dockerd reads, or /etc/docker/daemon.json\]]:FILE:_files' \
'--json[Print JSON, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':shell:(bash zsh fish)' \
&& ret=0
;;
        esac
    ;;
esac
}

(( $+functions[_ttyplugd_commands] )) ||
_ttyplugd_commands() {
    local commands; commands=(
'run:Run the daemon. SIGTERM stops it, SIGHUP reloads the configuration' \
'ports:List the serial devices of this machine, and how to match each of them' \
'status:Show the state of every port in every container, and every held open' \
'wait:Wait until a port is ready in all of its containers, or in one' \
'add:Make a plugged-in device a port of a container. Without arguments it asks, on a terminal' \
'remove:Remove a port that \`add\` has added' \
'check:Find everything that keeps ports from working, and how to fix it' \
'plan:Show what the daemon would do now, without changing anything' \
'runtime:Register ttyplug-runtime in Docker'\''s daemon.json, or unregister it' \
'completions:Print a completion script for a shell' \
    )
    _describe -t commands 'ttyplugd commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__add_commands] )) ||
_ttyplugd__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd add commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__check_commands] )) ||
_ttyplugd__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd check commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__completions_commands] )) ||
_ttyplugd__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd completions commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__plan_commands] )) ||
_ttyplugd__subcmd__plan_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd plan commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__ports_commands] )) ||
_ttyplugd__subcmd__ports_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd ports commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__remove_commands] )) ||
_ttyplugd__subcmd__remove_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd remove commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__run_commands] )) ||
_ttyplugd__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd run commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__runtime_commands] )) ||
_ttyplugd__subcmd__runtime_commands() {
    local commands; commands=(
'enable:Register the runtime, so containers can use \`runtime\: ttyplug\`' \
'disable:Unregister the runtime, unless containers use it' \
'status:Show whether the runtime is registered, whether it works, and which containers use it' \
    )
    _describe -t commands 'ttyplugd runtime commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__runtime__subcmd__disable_commands] )) ||
_ttyplugd__subcmd__runtime__subcmd__disable_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd runtime disable commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__runtime__subcmd__enable_commands] )) ||
_ttyplugd__subcmd__runtime__subcmd__enable_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd runtime enable commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__runtime__subcmd__status_commands] )) ||
_ttyplugd__subcmd__runtime__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd runtime status commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__status_commands] )) ||
_ttyplugd__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd status commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__wait_commands] )) ||
_ttyplugd__subcmd__wait_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd wait commands' commands "$@"
}

if [ "$funcstack[1]" = "_ttyplugd" ]; then
    _ttyplugd "$@"
else
    compdef _ttyplugd ttyplugd
fi
