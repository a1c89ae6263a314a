// Package vlan makes VLAN devices on kernels without 8021q: a pair of veth devices whose outer end carries a small BPF
// program that tags frames, while one on the parent takes the tags off.
package vlan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// peerPrefix begins the names of the outer ends.
const peerPrefix = "vlanp-"

// priority of our filters among those of a device. Their handles are the VLANs.
const priority = 5000

// Supported tells whether the kernel takes the programs.
func Supported() bool {
	p, err := program(send(1, 1))
	if err == nil {
		p.Close()
	}
	return err == nil
}

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
	return errors.Join(attach(h, a.Peer, a.VLAN, a.outName(), send(a.VLAN, a.Parent)),
		attach(h, a.Parent, a.VLAN, a.inName(), receive(a.VLAN, a.Device)))
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
	return errors.Join(h.QdiscDel(clsact(parent.Attrs().Index)), h.SetPromiscOff(parent))
}

func clsact(device int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

func attach(h *netlink.Handle, device, vlan int, name string, code []instruction) error {
	if err := h.QdiscAdd(clsact(device)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact: %w", err)
	}
	p, err := program(code)
	if err != nil {
		return err
	}
	defer p.Close()
	f := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: device, Parent: netlink.HANDLE_MIN_INGRESS, Handle: uint32(vlan),
		Priority: priority, Protocol: unix.ETH_P_ALL}, Fd: int(p.Fd()), Name: name, DirectAction: true}
	if err := h.FilterReplace(f); err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	return nil
}

// list returns our filters of a device; none if the device has no clsact.
func list(h *netlink.Handle, device int) ([]*netlink.BpfFilter, error) {
	filters, err := h.FilterList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: device}}, netlink.HANDLE_MIN_INGRESS)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var ours []*netlink.BpfFilter
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Priority == priority {
			ours = append(ours, b)
		}
	}
	return ours, nil
}
