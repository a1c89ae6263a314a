#!/bin/bash
# What runs in the virtual machine: the scenarios with the kernel's datapath of Open vSwitch.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root NEUTRINO_BINARY=/mnt/neutrino NEUTRINO_KERNEL_DATAPATH=1 NEUTRINO_LAB_PATIENCE=10
export NEUTRINO_LAB_LOGS=/mnt/logs # the daemons' logs, which the machine outside keeps
echo "kernel $(uname -r)"
[ -e /proc/sys/kernel/modprobe ] && echo /sbin/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
modprobe -a openvswitch vport-vxlan vport-gre vport-geneve veth bridge tun nf_conntrack nft_ct nft_masq
failed=0
while IFS=: read -r program tests; do
	"/mnt/$program.test" -test.timeout 80m -test.v -test.run "$tests" </dev/null || failed=1
done </mnt/tests
echo $failed >/mnt/result
sync
echo o >/proc/sysrq-trigger
sleep 10
