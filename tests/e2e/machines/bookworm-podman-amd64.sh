# Debian 12 with Podman 4.3, crun 1.8 and podman-compose, and neither Docker nor runc: systemd 252, cgroup v2.
suite=bookworm
# debootstrap does not choose what provides container-network-stack.
packages=(podman netavark crun podman-compose uidmap slirp4netns dbus-user-session)
. "$here/podman.sh"
# Its podman-compose (1.0.3) gives podman neither `runtime:` nor a `network_mode` alone.
scenarios=('5[1-46-9]-podman-*')
