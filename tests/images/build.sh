#!/bin/bash
# Makes the images that the tests need, beside the big ones of the demo: small
# and odd ones, valid and broken. Runs as root on the login node.
#   build.sh DIRECTORY TRUSTED PROBE.c
# DIRECTORY is reached by users, and what is in it is served by FUSE; TRUSTED is
# root's alone, and what is in it is mounted by the kernel.
set -euo pipefail
readonly out=$1 trusted=$2 probe=$3

work=$(mktemp -d /root/oarlock-test-images.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
rm -rf --one-file-system "$out" "$trusted"
install -d -m 0755 "$out" "$trusted"

readonly programs=(bash cat chmod env grep id ls mkdir readlink rm sleep sort stat touch tr true uniq)

# A root file system with a shell and little else. What it lacks (/home, /shared,
# /etc/resolv.conf, /var/tmp …) Oarlock has to make.
make_root() { # directory
    local root=$1 program path to
    install -d -m 0755 "$root"/{bin,dev,etc,lib,lib64,proc,sys,usr/bin}
    install -d -m 1777 "$root/tmp"
    for program in "${programs[@]}"; do
        path=$(type -P "$program")
        install -m 0755 "$path" "$root/bin/$program"
        ldd "$path" | grep -oE '/[^ ]+' | while read -r path; do
            # Newer systems name /usr/lib; some images have no /usr.
            to=$root${path/#\/usr\/lib/\/lib}
            [ -e "$to" ] || install -D -m 0755 "$path" "$to"
        done
    done
    ln -s bash "$root/bin/sh"
    echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
    echo root:x:0: >"$root/etc/group"
    echo tiny >"$root/etc/oarlock-image"
}

build() { # image, directory, more options
    oarlock build --processors 1 "$@" >/dev/null
}

make_root "$work/tiny"
root=$work/tiny

# Programs that the image marks as privileged.
gcc -O1 -static -o "$root/usr/bin/probe" "$probe"
install -m 4755 "$root/usr/bin/probe" "$root/usr/bin/probe-setuid"
install -m 2755 "$root/usr/bin/probe" "$root/usr/bin/probe-setgid"
install -m 0755 "$root/usr/bin/probe" "$root/usr/bin/probe-capable"
# linux/capability.h, version 2: CAP_SETUID, CAP_SYS_CHROOT, CAP_SYS_ADMIN, effective.
python3 - "$root/usr/bin/probe-capable" <<'PYTHON'
import os, struct, sys
mask = 1 << 7 | 1 << 18 | 1 << 21
value = struct.pack("<5I", 0x02000001, mask, 0, 0, 0)
os.setxattr(sys.argv[1], "security.capability", value)
PYTHON

# A program that no node has.
printf '#!/bin/sh\necho only here\n' >"$root/usr/bin/only-in-the-image"
chmod 0755 "$root/usr/bin/only-in-the-image"

# The image's own environment, with everything that a script may get wrong.
install -d -m 0755 "$root/.singularity.d/env" "$root/opt/image/bin"
cat >"$root/.singularity.d/env/10-image.sh" <<'SCRIPT'
echo "noise of the image's script"
echo "noise of the image's script" >&2
export FROM_IMAGE=image
export BOTH=image
export SLURM_JOB_ID=0 SLURM_PROCID=77 PMI_RANK=77 HOME=/nowhere
export QUOTED="it's \"so\" \$BOTH \\ done"
export LINES_OF_TEXT="one
two"
export PATH="/opt/image/bin:$PATH"
not_exported=1
SCRIPT
echo 'export BOTH="$BOTH and later"' >"$root/.singularity.d/env/90-later.sh"

build "$trusted/tiny.sif" "$root"
install -m 0644 "$trusted/tiny.sif" "$out/tiny.sif"
mksquashfs "$root" "$out/tiny.sqsh" -noappend -quiet -no-progress -processors 1 >/dev/null
install -m 0644 "$out/tiny.sqsh" "$trusted/tiny.sqsh"
cp -a "$root" "$out/tiny.d"

# Images that cannot be used.
head -c 300000 "$out/tiny.sif" >"$out/truncated.sif"
head -c 100 "$out/tiny.sif" >"$out/stub.sif"
head -c 300000 "$out/tiny.sqsh" >"$out/truncated.sqsh"
: >"$out/empty.sif"
echo "this is no image" >"$out/text.sif"
mkfifo -m 0666 "$out/pipe.sif"
install -m 0600 "$out/tiny.sif" "$out/rootonly.sif"
install -d -m 0700 "$out/closed"
install -m 0644 "$out/tiny.sif" "$out/closed/tiny.sif"
install -d -m 0700 "$out/closed.d"
ln -s loop.sif "$out/loop.sif"

# Small trees from here on: what is in them hardly matters.
small() { # name
    install -d -m 0755 "$work/$1"/{bin,dev,etc,lib,lib64,proc,sys,usr/bin}
    cp -a "$root/lib" "$root/lib64" "$work/$1/"
    cp -a "$root"/bin/{bash,sh,cat,ls,readlink,touch} "$work/$1/bin/"
    echo "$1" >"$work/$1/etc/oarlock-image"
}
small arm64
build --arch arm64 "$out/arm64.sif" "$work/arm64"

# Mount points that lead away: to absolute paths, and out of the image's root.
# What they lead to exists on every node, or could be made there.
small absolute
ln -s /var/tmp "$work/absolute/home"
ln -s /mnt "$work/absolute/tmp"
ln -s /root "$work/absolute/shared"
ln -s /etc/oarlock-victim "$work/absolute/etc/resolv.conf"
ln -s /etc/oarlock-victim-passwd "$work/absolute/etc/passwd"
build "$out/absolute.sif" "$work/absolute"

small upwards
ln -s ../../../../../var/tmp "$work/upwards/home"
ln -s ../../../../../mnt "$work/upwards/tmp"
ln -s ../../../../../../root "$work/upwards/shared"
ln -s ../../../../../../etc/oarlock-victim "$work/upwards/etc/resolv.conf"
ln -s ../../../../../../proc/1/root/etc/oarlock-victim "$work/upwards/etc/passwd"
install -d -m 0755 "$work/upwards/opt" "$work/upwards/srv"
ln -s ../../../srv/../opt "$work/upwards/link"
build "$out/upwards.sif" "$work/upwards"

# Places of Oarlock's own mounts that are links.
small devices
rmdir "$work/devices/dev" "$work/devices/proc" "$work/devices/sys"
ln -s /mnt "$work/devices/dev"
ln -s ../../../../srv "$work/devices/proc"
ln -s loop "$work/devices/sys"
ln -s sys "$work/devices/loop"
build "$out/devices.sif" "$work/devices"
