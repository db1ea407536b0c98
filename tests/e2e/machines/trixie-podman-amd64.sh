# Debian 13 with Podman 5.4, crun 1.21 and podman-compose, and neither Docker nor runc: systemd 257, cgroup v2.
suite=trixie
packages=(podman crun podman-compose uidmap slirp4netns dbus-user-session)
. "$here/podman.sh"
