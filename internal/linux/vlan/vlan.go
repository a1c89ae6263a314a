// Package vlan makes VLAN devices on kernels without 8021q: a pair of veth devices whose outer end carries a small BPF
// program that tags frames, while one on the parent takes the tags off.
package vlan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"neutrino/internal/linux/bpf"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// peerPrefix begins the names of the outer ends.
const peerPrefix = "vlanp-"

// priority of our filters among those of a device. Their handles are the VLANs.
const priority = 5000

// Peer is the name of the outer end of a device.
func Peer(device string) string {
	sum := sha256.Sum256([]byte(device))
	return peerPrefix + hex.EncodeToString(sum[:4])
}

// Add makes the pair. It is down and carries no frames until Attach.
func Add(h *netlink.Handle, device string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = device, mtu
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: Peer(device), PeerMTU: uint32(mtu)}); err != nil {
		return fmt.Errorf("add %s: %w", device, err)
	}
	return nil
}

// Attachment is what joins a device with its parent.
type Attachment struct {
	VLAN                 int
	Parent, Device, Peer int // indexes
}

func (a Attachment) inName() string  { return fmt.Sprintf("neutrino vlan %d to %d", a.VLAN, a.Device) }
func (a Attachment) outName() string { return fmt.Sprintf("neutrino vlan %d to %d", a.VLAN, a.Parent) }

// Attached tells whether the programs are there.
func (a Attachment) Attached(h *netlink.Handle) (bool, error) {
	for device, name := range map[int]string{a.Parent: a.inName(), a.Peer: a.outName()} {
		filters, err := list(h, device)
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(filters, func(f *netlink.BpfFilter) bool { return f.Name == name }) {
			return false, nil
		}
	}
	return true, nil
}

// Attach puts the programs where they belong.
func (a Attachment) Attach(h *netlink.Handle) error {
	out := bpf.Filter{Device: a.Peer, Priority: priority, Handle: a.VLAN, Name: a.outName()}
	in := bpf.Filter{Device: a.Parent, Priority: priority, Handle: a.VLAN, Name: a.inName()}
	return errors.Join(out.Attach(h, send(a.VLAN, a.Parent)), in.Attach(h, receive(a.VLAN, a.Device)))
}

// Detach removes the program on the parent for a device that is to be deleted, and what Attach made for it there.
func Detach(h *netlink.Handle, parent netlink.Link, device int) error {
	filters, err := list(h, parent.Attrs().Index)
	if err != nil {
		return err
	}
	left := 0
	for _, f := range filters {
		if (Attachment{VLAN: int(f.Handle), Device: device}).inName() != f.Name {
			left++
			continue
		}
		if err := h.FilterDel(f); err != nil {
			return fmt.Errorf("remove VLAN %d from %s: %w", f.Handle, parent.Attrs().Name, err)
		}
	}
	if left > 0 || len(filters) == 0 {
		return nil
	}
	out, err := h.FilterList(parent, netlink.HANDLE_MIN_EGRESS)
	if err != nil || len(out) > 0 { // somebody else's
		return err
	}
	in, err := h.FilterList(parent, netlink.HANDLE_MIN_INGRESS)
	if err != nil || len(in) > 0 {
		return err
	}
	return errors.Join(h.QdiscDel(bpf.Clsact(parent.Attrs().Index)), h.SetPromiscOff(parent))
}

func list(h *netlink.Handle, device int) ([]*netlink.BpfFilter, error) {
	return bpf.List(h, device, priority)
}

// tagProtocol is 802.1Q's ethertype.
var tagProtocol = bpf.Ethertype(unix.ETH_P_8021Q)

// receive takes frames of the VLAN, without their tag, as if the device had received them. Others go on.
func receive(vlan, device int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.Move(bpf.Packet, 1),
		bpf.Set(0, bpf.VerdictNext),
		bpf.Load(2, bpf.OffsetPresent), bpf.SkipIf(2, 0, 13),
		bpf.Load(2, bpf.OffsetTagProto), bpf.SkipUnless(2, tagProtocol, 11),
		bpf.Load(2, bpf.OffsetTag), bpf.And(2, 0xfff), bpf.SkipUnless(2, vlan, 8),
		bpf.Move(1, bpf.Packet), bpf.Call(bpf.HelperVLANPop), bpf.SkipIf(0, 0, 2),
		bpf.Set(0, bpf.VerdictDrop), bpf.Exit,
		bpf.Set(1, device), bpf.Set(2, bpf.FlagIngress), bpf.Call(bpf.HelperRedirect),
		bpf.Exit,
	}
}

// send gives every frame the tag and sends it from the device.
func send(vlan, device int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.Move(bpf.Packet, 1),
		bpf.Set(2, tagProtocol), bpf.Set(3, vlan), bpf.Call(bpf.HelperVLANPush), bpf.SkipIf(0, 0, 2),
		bpf.Set(0, bpf.VerdictDrop), bpf.Exit,
		bpf.Set(1, device), bpf.Set(2, 0), bpf.Call(bpf.HelperRedirect),
		bpf.Exit,
	}
}
