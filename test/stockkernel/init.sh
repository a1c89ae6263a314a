#!/bin/sh
# The first process of the virtual machine: mounts the file system of the machine outside, and goes on there.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe $module; done
plan9=trans=virtio,version=9p2000.L,msize=512000
mkdir -p /below /above
mount -t 9p -o $plan9,cache=loose,ro machine /below
mount -t tmpfs above /above
mkdir /above/files /above/work
mount -t overlay -o lowerdir=/below,upperdir=/above/files,workdir=/above/work machine /root
mkdir -p /root/lib/modules
mount -t 9p -o $plan9,cache=loose,ro modules /root/lib/modules
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t tmpfs run /root/run
mount -t tmpfs tmp /root/tmp -o mode=1777
mount -t 9p -o $plan9 share /root/mnt
exec switch_root /root /bin/bash /mnt/guest.sh
