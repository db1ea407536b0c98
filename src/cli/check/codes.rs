//! Every kind of finding: its code for programs, and why it matters. Codes are never renamed.

use super::finding::Kind;

macro_rules! kinds {
    ($($name:ident $code:literal $why:literal)*) => {
        $(pub(super) const $name: &Kind = &Kind { code: $code, why: $why };)*
        #[cfg(test)]
        const ALL: &[&Kind] = &[$($name),*];
    };
}

kinds! {
    CONFIGURATION "configuration"
        "a daemon that starts refuses such a file, and one that runs keeps what it had read before"
    CONFIGURATION_MISSING "configuration-missing"
        "without a file ports are given by labels alone"

    // The host.
    UDEVD "udevd"
        "without udevd no plug is ever heard of"
    HOST_UNREADABLE "host-unreadable"
        "what else uses the ports could not be found out"
    BRLTTY "brltty"
        "brltty takes a USB device away from its serial driver when it is plugged in, and its tty \
         goes"
    MODEM_MANAGER "modemmanager"
        "ModemManager opens a new port and sends AT commands, which confuses many sticks"
    PORT_IS_CONSOLE "port-is-console"
        "the kernel writes its messages to this port, and a login prompt usually reads from it"
    PORT_HELD "port-held"
        "two programs that read one port each get a part of what arrives"
    PORT_SHARED "port-shared"
        "two programs that read one port each get a part of what arrives"

    // The engine and the daemon.
    ENGINE "engine"
        "without the engine no container can be served"
    SERVICE_DOWN "service-down"
        "nothing is made or removed while the daemon does not run"
    SERVICE_DISABLED "service-disabled"
        "after the next boot nothing is made or removed"
    SERVICE_VERSION "service-version"
        "what is said here may not be what the daemon does"
    SERVICE_WAITS "service-waits"
        "nothing is made or removed until it has found the engine"
    SERVICE "service" ""
    RUNTIME "runtime" ""
    RUNTIME_MISSING "runtime-missing"
        "the engine starts no container whose runtime it does not know, and without the runtime \
         no early open is held"
    RUNTIME_PROGRAM "runtime-program"
        "a container that uses a runtime does not start without its program"
    RUNTIME_TOO_OLD "runtime-too-old"
        "the container starts, and its early opens fail as if there were no ttyplug"

    // Ports.
    PORT_ABSENT "port-absent" "an open of it waits or fails"
    PORT_AMBIGUOUS "port-ambiguous"
        "which of them the port is depends on where they are plugged in"
    PORT_IDENTITY "port-identity"
        "a second device of this kind would match as well"
    PORT_UNUSED "port-unused" "nobody gets it"
    PORT_UNKNOWN_NAME "port-unknown-name"
        "an early open is recognized by the name that it opens"
    PORT "port" ""
    LINK_SHARED "link-shared"
        "such a name leads to whichever of them was plugged in last"

    // Containers.
    LABEL "label"
        "a container that is half understood gets no port at all"
    LABEL_IGNORED "label-ignored"
        "else any image that is pulled could give itself the ports"
    PORTS_QUARREL "ports-quarrel"
        "a name in a container leads to one device"
    CONTAINER "container" ""
    CONTAINER_UNREADABLE "container-unreadable"
        "what is in it could not be found out"
    CONTAINER_NOT_SERVED "container-not-served"
        "its port has no node, or a wrong one"
    HOST_DEV "host-dev"
        "what is removed there is removed from the host, so that nothing is ever written there"
    RIGHT_MISSING "right-missing"
        "the kernel asks the container's device cgroup at every open, and answers EPERM"
    RIGHT_NOT_IN_FORCE "right-not-in-force"
        "the rule was dropped when the container started, or taken away since: opens fail with \
         EPERM although its definition allows them"
    DRIVER_NOT_LOADED "driver-not-loaded"
        "with the systemd cgroup driver a rule for a major number that no driver has is dropped, \
         and a stick that is plugged in later cannot be opened"
    NO_ACCESS "no-access"
        "the owner and group of a node are numbers, and the image's names for them do not count: \
         opens fail with EACCES"
    STALE_NODE "stale-node"
        "an open of it fails, or reaches another device than the one it was made for"
    CAPABILITY "capability"
        "nodes are made by a command in the container"
    PROGRAMS "programs"
        "nodes are made by a command in the container"
    REMAPPED_USERS "remapped-users"
        "the kernel lets nobody open a node on such a /dev"
    OPENS_HELD "opens-held" ""
    OPENS_NOT_HELD "opens-not-held"
        "an application that opens its port too early fails"
    KEEPER "keeper"
        "while its keeper is gone, serial opens in it fail with ENOSYS, and docker exec fails"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn codes_are_kebab_case_and_each_has_one_kind() {
        let codes: BTreeSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for code in codes {
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(code.chars().all(plain), "{code}");
        }
    }
}
