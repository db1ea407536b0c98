# Debian in a directory. Sourced by build.sh and applications.sh.
#
#   one_at_a_time THING                           waits for whoever makes it now, until this script ends
#   emulate ARCH                                  lets this machine run programs of ARCH
#   bootstrap DIRECTORY SUITE ARCH PACKAGE...     makes it, and leaves it mounted on itself
#   in_root DIRECTORY COMMAND...                  runs COMMAND in it
#   unmount DIRECTORY                             whatever is mounted there or below

# Two that make the same thing at a time would make it in the same place.
one_at_a_time() {
    mkdir -p target/e2e/cache
    exec 9>"target/e2e/cache/$1.lock"
    flock --timeout 3600 9
}

# Where this machine's own apt has Debian from; another distribution has it from Debian.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Origin: Debian" \
        "Label: Debian" "Component: main" | head -n 1)
    case $found in
    mirror+file:*)
        # The file has a mirror a line, the best one first (apt-transport-mirror(1)).
        found=$(sed -En '/^[a-z]+:/{s/[[:space:]].*//;p;q}' "${found#mirror+file:}")
        ;;
    esac
    echo "${found:-http://deb.debian.org/debian}"
}

proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "$proxy" ] || export http_proxy=$proxy

# The magic numbers are the first 20 bytes of an ELF file: its class, its byte order, its type and its
# machine (elf(5)). With F the interpreter is opened now, so that it is there in a chroot too
# (binfmt-misc in the kernel's admin-guide).
emulate() {
    local name head machine mask register=/proc/sys/fs/binfmt_misc/register
    case $1 in
    armhf) name=qemu-arm head='\x7fELF\x01' machine='\x28' ;;
    arm64) name=qemu-aarch64 head='\x7fELF\x02' machine='\xb7' ;;
    *) return 0 ;;
    esac
    [ "$1" != "$(dpkg --print-architecture)" ] || return 0
    [ -e $register ] || mount -t binfmt_misc binfmt_misc "${register%/*}"
    [ ! -e "${register%/*}/$name" ] || return 0
    # Any ABI, and both types of programs.
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":$name:M::$head\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00$machine\x00:$mask:/usr/bin/$name-static:F" \
        >$register
}

bootstrap() {
    local root=$1 suite=$2 arch=$3 log=$1.log script=()
    shift 3
    # A suite that is younger than debootstrap is made as sid is.
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=(/usr/share/debootstrap/scripts/sid)
    mkdir -p "$root"
    # /tmp may forget what devices and root's programs are (Debian 13 mounts it nodev and nosuid).
    mount --bind "$root" "$root"
    mount -o remount,bind,dev,suid,exec "$root"
    if ! timeout 3000 debootstrap --arch="$arch" --variant=minbase \
        --include="$(IFS=, && echo "$*")" "$suite" "$root" "$(mirror)" "${script[@]}" >"$log" 2>&1; then
        echo "debootstrap fails; the end of its log:" >&2
        tail -n 20 "$log" >&2
        return 1
    fi
    rm -f "$root"/var/cache/apt/archives/*.deb
}

in_root() {
    local root=$1
    shift
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} DEBIAN_FRONTEND=noninteractive "$@"
}

unmount() {
    grep -oE " $1(/[^ ]*)? " /proc/self/mountinfo | tr -d ' ' | sort -ru | xargs -r umount --lazy
}
