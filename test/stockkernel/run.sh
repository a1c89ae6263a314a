#!/bin/bash
# run.sh DIR BINARY PROGRAM:TESTS…: boots Debian's own kernel in a virtual machine on the file system of this one, which it sees
# read-only under an overlay, and runs there what needs the kernel's Open vSwitch. Everything it makes is in DIR.
# The machine is emulated, as virtual machines within others often hang: STOCK_KERNEL_ACCEL=kvm is some ten times as fast.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/share"
cd "$1"
binary=$2
shift 2

package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
kernel=${package#linux-image-}
if [ ! -d "kernel-$kernel" ]; then
	echo "fetching $package"
	apt-get download -q "$package" >/dev/null
	rm -rf unpacked
	dpkg-deb -x "$package"_*.deb unpacked
	rm -f "$package"_*.deb
	depmod -b unpacked "$kernel"
	mv unpacked "kernel-$kernel"
fi

# The initial file system: busybox and the modules by which the rest is mounted.
modules=lib/modules/$kernel
rm -rf initial
mkdir -p initial/{bin,dev,proc,sys,root} "initial/$modules"
cp "$(command -v busybox)" initial/bin/busybox
for library in $(ldd initial/bin/busybox 2>/dev/null | grep -o '/[^ ]*'); do
	mkdir -p "initial$(dirname "$library")"
	cp -L "$library" "initial$library"
done
for tool in sh mount modprobe switch_root mkdir; do ln -s busybox "initial/bin/$tool"; done
for module in virtio virtio_ring virtio_pci virtio_pci_legacy_dev virtio_pci_modern_dev 9pnet 9pnet_virtio netfs fscache 9p overlay; do
	file=$(find "kernel-$kernel/$modules" -name "$module.ko*" | head -1)
	[ -n "$file" ] || continue # built in
	target=initial/${file#kernel-$kernel/}
	mkdir -p "$(dirname "$target")"
	cp "$file" "$target"
done
cp "kernel-$kernel/$modules"/modules.{order,builtin,builtin.modinfo} "initial/$modules/"
depmod -b initial "$kernel"
cp "$here/init.sh" initial/init
chmod +x initial/init
(cd initial && find . | cpio -o -H newc --quiet | gzip -1) >initial.gz

cp "$here/guest.sh" "$binary" share/
cp "$here"/../../build/{scenario,l2}.test share/
printf '%s\n' "$@" >share/tests
rm -rf share/result share/logs
mkdir share/logs

timeout "${STOCK_KERNEL_TIMEOUT:-5400}" qemu-system-x86_64 -accel "${STOCK_KERNEL_ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m 1536 -nographic -no-reboot -nodefaults \
	-serial stdio -kernel "kernel-$kernel/boot/vmlinuz-$kernel" -initrd initial.gz -append "console=ttyS0 quiet panic=1 mitigations=off" \
	-virtfs local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap \
	-virtfs local,path="$PWD/kernel-$kernel/lib/modules",mount_tag=modules,security_model=none,readonly=on \
	-virtfs local,path="$PWD/share",mount_tag=share,security_model=none </dev/null
[ "$(cat share/result 2>/dev/null)" = 0 ] || { echo "stock kernel: failed"; exit 1; }
