package bpf

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filter is a program on what a device receives. Priority and Handle name it among those of the device; the name says what it is for.
type Filter struct {
	Device   int // index
	Priority uint16
	Handle   int
	Name     string
}

// Clsact is the queue discipline that filters are attached to.
func Clsact(device int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// Attach puts a program in the place of the filter.
func (f Filter) Attach(h *netlink.Handle, program []Instruction) error {
	if err := h.QdiscAdd(Clsact(f.Device)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact: %w", err)
	}
	p, err := load(program)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := h.FilterReplace(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: f.Device, Parent: netlink.HANDLE_MIN_INGRESS,
		Handle: uint32(f.Handle), Priority: f.Priority, Protocol: unix.ETH_P_ALL}, Fd: int(p.Fd()), Name: f.Name, DirectAction: true}); err != nil {
		return fmt.Errorf("attach %s: %w", f.Name, err)
	}
	return nil
}

// List returns the programs of a priority on a device; none if the device has no clsact.
func List(h *netlink.Handle, device int, priority uint16) ([]*netlink.BpfFilter, error) {
	filters, err := h.FilterList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: device}}, netlink.HANDLE_MIN_INGRESS)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var found []*netlink.BpfFilter
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Priority == priority {
			found = append(found, b)
		}
	}
	return found, nil
}
