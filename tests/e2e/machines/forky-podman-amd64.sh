# What becomes Debian 14 with Podman 5.8, crun 1.28 and podman-compose, and neither Docker nor runc: systemd 262, cgroup v2.
suite=forky
packages=(podman crun podman-compose uidmap slirp4netns dbus-user-session)
. "$here/podman.sh"
