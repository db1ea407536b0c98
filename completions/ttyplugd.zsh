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
'--config=[The configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, where there is one\]]:FILE:_files' \
'--state-dir=[What outlives the daemon]:DIR:_files' \
'--run-dir=[Where the lock and the sockets are]:DIR:_files' \
'--log-format=[Where log lines go]:LOG_FORMAT:((auto\:"The journal where standard error is connected to it, else text"
journal\:"The journal"
text\:"Text on standard error"))' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(ports)
_arguments "${_arguments_options[@]}" : \
'--json[Print one JSON object, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--run-dir=[Where the lock and the sockets are]:DIR:_files' \
'--watch[Go on to show it whenever it changes, until interrupted; with --json one object a line]' \
'--json[Print one JSON object, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(wait)
_arguments "${_arguments_options[@]}" : \
'--container=[The container in which it has to be ready; without it, every one that runs and is to have the port]:NAME:_default' \
'--timeout=[For how long to wait at most\: a time such as 60s or 5m, or forever]:TIME:_default' \
'--run-dir=[Where the lock and the sockets are]:DIR:_files' \
'-h[Print help]' \
'--help[Print help]' \
':port -- The name of the port:_default' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'--run-dir=[Where the lock and the sockets are]:DIR:_files' \
'--config=[The configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, where there is one\]]:FILE:_files' \
'--state-dir=[What outlives the daemon]:DIR:_files' \
'--json[Print one JSON object, for programs]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(plan)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file; drop-ins are read from conf.d beside it. \[default\: /etc/ttyplugd/config.toml, where there is one\]]:FILE:_files' \
'--state-dir=[What outlives the daemon]:DIR:_files' \
'--json[Print one JSON object, for programs]' \
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
'--file=[The engine'\''s configuration file. \[default\: the one that dockerd was started with, or /etc/docker/daemon.json\]]:FILE:_files' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disable)
_arguments "${_arguments_options[@]}" : \
'--file=[The engine'\''s configuration file. \[default\: the one that dockerd was started with, or /etc/docker/daemon.json\]]:FILE:_files' \
'--force[Even if containers use it, which will never start again then]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--file=[The engine'\''s configuration file. \[default\: the one that dockerd was started with, or /etc/docker/daemon.json\]]:FILE:_files' \
'--json[Print one JSON object, for programs]' \
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
'run:Serve containers until told to stop (SIGTERM); SIGHUP reads the configuration again' \
'ports:Show the serial devices that are plugged in, and how to match each of them' \
'status:Show every port in every container as the running daemon sees it, and every open that waits' \
'wait:Wait until a port is ready, in every container that is to have it or in one' \
'check:Show everything that would stop a port from working, and what to do about it' \
'plan:Show what the daemon would do now, without doing it' \
'runtime:Register ttyplug-runtime in Docker'\''s daemon.json, or take it out again' \
'completions:Print completions for a shell, as the package installs them' \
    )
    _describe -t commands 'ttyplugd commands' commands "$@"
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
(( $+functions[_ttyplugd__subcmd__run_commands] )) ||
_ttyplugd__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'ttyplugd run commands' commands "$@"
}
(( $+functions[_ttyplugd__subcmd__runtime_commands] )) ||
_ttyplugd__subcmd__runtime_commands() {
    local commands; commands=(
'enable:Register the runtime, so that containers can have \`runtime\: ttyplug\`' \
'disable:Take the runtime out again, if no container uses it any more' \
'status:Show whether the runtime is registered, whether it works, and who uses it' \
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
