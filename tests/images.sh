#!/bin/bash
# Makes the images of the tests, without any registry.
#
#   tests/images.sh make DIRECTORY      as DIRECTORY/images/NAME.tar; and DIRECTORY/opens, a program
#   tests/images.sh import DIRECTORY [podman]
#                                       imports them into the engine of DOCKER_HOST, or into Podman
#
#   ttyplugd-test/busybox    a shell and everything else; its dialout is 77, which no host has
#   ttyplugd-test/labelled   the same, and the image itself carries ttyplugd.enable=true
#   ttyplugd-test/noshell    one program that sleeps: no shell, no mknod
#   ttyplugd-test/nomknod    a shell, and nothing that could make a node
#   ttyplugd-test/bash       bash as its shell, coreutils, and a library for LD_PRELOAD
#   ttyplugd-test/opens      busybox, and the program of opens.c
#   ttyplugd-test/uevents    busybox, and the program of uevents.c
#   ttyplugd-test/linkdev    its /dev is a link to a directory of its own
#   ttyplugd-test/devlink    /linked is a link to /dev, and /linked/ports a volume
#   ttyplugd-test/hangshell  a shell that never does what it was asked to
set -euo pipefail

directory=$2
if [ "$1" = import ]; then
    for image in "$directory"/images/*.tar; do
        mapfile -t change <"${image%.tar}.change"
        timeout 60 "${3:-docker}" import "${change[@]}" "$image" \
            "ttyplugd-test/$(basename "$image" .tar)" >/dev/null
    done
    exit 0
fi

mkdir "$directory/images"
work=$(mktemp -d "$directory/images.XXXXXX")
trap 'rm -rf "$work"' EXIT
busybox=$(command -v busybox)

# put ROOT PROGRAM PATH: copies PROGRAM to PATH below ROOT, with the libraries that it needs.
put() {
    local root=$1 program=$2 path=$3 library
    install -D "$program" "$root$path"
    # For a static program ldd prints no path.
    for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true); do
        install -D "$library" "$root$library"
    done
}

# base NAME: a root file system with nothing in it but the files that the engine or libc look for.
base() {
    local root=$work/$1
    mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp}
    printf '%s\n' root:x:0:0:root:/:/bin/sh app:x:1000:1000:app:/:/bin/sh >"$root/etc/passwd"
    printf '%s\n' root:x:0: dialout:x:77: app:x:1000: >"$root/etc/group"
    echo "$root"
}

# with_busybox NAME: a base with busybox under all its names.
with_busybox() {
    local root applet
    root=$(base "$1")
    put "$root" "$busybox" /bin/busybox
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    for applet in sh mknod chown chmod mv ln rm mkdir stat stty sleep cat ls id; do
        [ -e "$root/bin/$applet" ] || { echo "images: this busybox has no $applet" >&2; exit 1; }
    done
    echo "$root"
}

# image NAME [CHANGE...]: makes an image of the root file system NAME.
image() {
    local name=$1
    tar -C "$work/$name" --numeric-owner --owner=0 --group=0 -cf "$directory/images/$name.tar" .
    printf -- '--change=%s\n' 'CMD ["sleep", "1000000"]' "${@:2}" >"$directory/images/$name.change"
}

with_busybox busybox >/dev/null
image busybox 'ENV PATH=/bin'

with_busybox labelled >/dev/null
image labelled 'ENV PATH=/bin' 'LABEL ttyplugd.enable=true'

# busybox does what its name says, so under this one name it is a program that sleeps.
root=$(base noshell)
put "$root" "$busybox" /sleep
image noshell 'ENV PATH=/'

# busybox's own shell runs its other applets without any file of their name, hence dash.
root=$(base nomknod)
put "$root" "$(command -v dash)" /bin/sh
for program in sleep chown chmod mv ln rm cat ls; do
    put "$root" "$(command -v $program)" "/bin/$program"
done
image nomknod 'ENV PATH=/bin'

root=$(base bash)
put "$root" "$(command -v bash)" /bin/sh
for program in sleep mknod chown chmod mv ln rm mkdir cat ls id; do
    put "$root" "$(command -v $program)" "/bin/$program"
done
cc -O1 -Wall -shared -fPIC -o "$root/preload.so" "$(dirname "$(realpath "$0")")/preload.c"
image bash 'ENV PATH=/bin'

root=$(with_busybox linkdev)
rmdir "$root/dev"
mkdir "$root/elsewhere"
ln -s /elsewhere "$root/dev"
image linkdev 'ENV PATH=/bin'

ln -s /dev "$(with_busybox devlink)/linked"
image devlink 'ENV PATH=/bin' 'VOLUME /linked/ports'

root=$(with_busybox hangshell)
rm "$root/bin/sh"
printf '#!/bin/ash\nexec sleep 1000000\n' >"$root/bin/sh"
chmod 755 "$root/bin/sh"
image hangshell 'ENV PATH=/bin'

# Static, so that it runs in a container that has nothing else, and beside the tests on the host.
opens=$directory/opens
cc -O1 -Wall -static -pthread -o "$opens" "$(dirname "$(realpath "$0")")/opens.c"
put "$(with_busybox opens)" "$opens" /bin/opens
image opens 'ENV PATH=/bin'

uevents=$work/uevents-program
cc -O1 -Wall -static -o "$uevents" "$(dirname "$(realpath "$0")")/uevents.c"
put "$(with_busybox uevents)" "$uevents" /bin/uevents
image uevents 'ENV PATH=/bin'
