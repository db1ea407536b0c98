//! The code of every finding, and why the finding matters. Codes are never renamed.

use super::finding::Code;

macro_rules! codes {
    ($($name:ident $code:literal $why:literal)*) => {
        $(pub(super) const $name: &Code = &Code { name: $code, why: $why };)*
        #[cfg(test)]
        const ALL: &[(&str, &Code)] = &[$((stringify!($name), $name)),*];
    };
}

codes! {
    CONFIGURATION "configuration"
        "the daemon does not start with this file; a running daemon keeps its previous \
         configuration"
    CONFIGURATION_MISSING "configuration-missing"
        "without this file, only container labels define ports"

    // The host.
    UDEVD "udevd"
        "without udevd, hotplug events cannot be received"
    HOST_UNREADABLE "host-unreadable"
        "other programs that use the ports could not be detected"
    BRLTTY "brltty"
        "brltty detaches a USB device from its serial driver when it is plugged in, and its tty \
         disappears"
    MODEMMANAGER "modemmanager"
        "ModemManager opens new ports and sends AT commands, which confuse many devices"
    PORT_IS_CONSOLE "port-is-console"
        "the kernel writes its messages to this port, and usually a login prompt reads from it"
    PORT_HELD "port-held"
        "two programs that read from one port each get only part of the data"
    PORT_SHARED "port-shared"
        "two programs that read from one port each get only part of the data"

    // The engine and the daemon.
    ENGINE "engine"
        "without the engine, no container can be served"
    SERVICE_DOWN "service-down"
        "ports are neither added nor removed while the daemon is not running"
    SERVICE_DISABLED "service-disabled"
        "ports will be neither added nor removed after the next boot"
    SERVICE_VERSION "service-version"
        "this report may not match what the daemon does"
    SERVICE_WAITS "service-waits"
        "ports are neither added nor removed until the daemon reaches the engine"
    STATE_UNWRITTEN "state-unwritten"
        "containers that start before ttyplugd at the next boot may lack their ports at first"
    SERVICE "service" ""
    RUNTIME "runtime" ""
    RUNTIME_MISSING "runtime-missing"
        "the engine starts no container whose runtime is not registered; without the runtime, \
         early opens are not held"
    RUNTIME_PROGRAM "runtime-program"
        "a container does not start without the program of its runtime"
    RUNTIME_TOO_OLD "runtime-too-old"
        "containers start, but their early opens fail as without ttyplug"

    // Ports.
    PORT_ABSENT "port-absent"
        "an open of the port waits or fails"
    PORT_AMBIGUOUS "port-ambiguous"
        "the sockets that the devices are plugged into decide which of them is the port"
    PORT_IDENTITY "port-identity"
        "a second device of this kind would match too"
    PORT_UNUSED "port-unused"
        "no container gets the port"
    PORT_UNKNOWN_NAME "port-unknown-name"
        "early opens are recognized by the path that they open"
    PORT "port" ""
    LINK_SHARED "link-shared"
        "the link points to whichever device was plugged in last"

    // Containers.
    LABEL "label"
        "any invalid ttyplugd label disables all ports of its container"
    LABEL_IGNORED "label-ignored"
        "otherwise any image could give itself ports"
    LABEL_NOT_OFFERED "label-not-offered"
        "otherwise any container could give itself any tty of the host, such as the operator's \
         console"
    PORTS_QUARREL "ports-quarrel"
        "a path in a container can lead to one device only"
    CONTAINER "container" ""
    CONTAINER_UNREADABLE "container-unreadable"
        "the container could not be inspected"
    CONTAINER_NOT_SERVED "container-not-served"
        "the port has no node in the container, or a wrong one"
    HOST_DEV "host-dev"
        "a node that is made or removed there would be made or removed on the host too"
    NODE_CHANGED "node-changed"
        "owner and mode of the port are set when its node is made and when they change"
    RIGHT_MISSING "right-missing"
        "the kernel checks the container's device cgroup at every open, and returns EPERM"
    RIGHT_NOT_IN_FORCE "right-not-in-force"
        "the rule was dropped when the container started, or removed later: opens fail with EPERM \
         although the definition allows them"
    DRIVER_NOT_LOADED "driver-not-loaded"
        "the systemd cgroup driver drops a rule for a major number that has no driver, and a device \
         that is plugged in later cannot be opened"
    NO_ACCESS "no-access"
        "the kernel compares owner and group by number, whatever their names in the image: opens \
         fail with EACCES"
    STALE_NODE "stale-node"
        "an open of it fails, or opens another device than the one it was created for"
    PLACEHOLDER "placeholder"
        "an application that looks for the port before it opens it finds nothing"
    CAPABILITY "capability"
        "nodes are created by a command in the container"
    PROGRAMS "programs"
        "nodes are created by a command in the container"
    REMAPPED_USERS "remapped-users"
        "the kernel refuses to open device nodes on such a /dev"
    OPENS_HELD "opens-held" ""
    HELD_ONLY_THREAD "held-only-thread"
        "the process does nothing else until the port is ready or its hold is over"
    OPENS_NOT_HELD "opens-not-held"
        "an application that opens its port too early gets an error"
    KEEPER "keeper"
        "without its keeper, serial opens in the container fail with ENOSYS, and docker exec fails"
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn a_code_is_the_name_of_its_constant() {
        for (constant, code) in ALL {
            assert_eq!(code.name, constant.to_lowercase().replace('_', "-"));
        }
    }
}
