// Package conntrack lists tracked connections of a zone and marks single ones, so that connections which are no longer
// allowed can be cut without harming the others.
package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h that the nl package lacks.
const (
	protoICMPType   = 5
	protoICMPCode   = 6
	protoICMPv6Type = 8
	protoICMPv6Code = 9

	statusExpected = 1 // IPS_EXPECTED: a helper announced it (FTP data)
	attrType       = 0x3fff
)

// Flow is one connection, by its first packet.
type Flow struct {
	Zone               uint16
	Mark               uint32
	Expected           bool // belongs to another connection
	Protocol           uint8
	Source, Dest       netip.Addr
	SourcePort         uint16
	DestPort           uint16
	ICMPType, ICMPCode uint8

	tuple []byte // CTA_TUPLE_ORIG as it came
}

// List returns the connections that keep says yes to.
func List(keep func(*Flow) bool) ([]Flow, error) {
	var flows []Flow
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := request(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		messages, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		for _, m := range messages {
			f, err := parse(m)
			if err != nil {
				return nil, fmt.Errorf("list connections: %w", err)
			}
			if keep(&f) {
				flows = append(flows, f)
			}
		}
	}
	return flows, nil
}

// SetMark changes the mark of a connection. One that ended meanwhile is no error.
func SetMark(f *Flow, mark uint32) error {
	req := f.request(nl.IPCTNL_MSG_CT_NEW)
	req.AddData(nl.NewRtAttr(nl.CTA_MARK, nl.BEUint32Attr(mark)))
	return execute(req, "mark")
}

// Delete forgets a connection.
func Delete(f *Flow) error { return execute(f.request(nl.IPCTNL_MSG_CT_DELETE), "delete") }

func execute(req *nl.NetlinkRequest, what string) error {
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s connection: %w", what, err)
	}
	return nil
}

func (f *Flow) request(op int) *nl.NetlinkRequest {
	family := uint8(unix.AF_INET)
	if f.Source.Is6() {
		family = unix.AF_INET6
	}
	req := request(family, op, unix.NLM_F_ACK)
	req.AddData(nl.NewRtAttr(nl.CTA_TUPLE_ORIG|unix.NLA_F_NESTED, f.tuple))
	if f.Zone != 0 {
		req.AddData(nl.NewRtAttr(nl.CTA_ZONE, nl.BEUint16Attr(f.Zone)))
	}
	return req
}

func request(family uint8, op, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|op, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

func parse(message []byte) (Flow, error) {
	var f Flow
	err := attributes(message[nl.SizeofNfgenmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			f.tuple = value
			return f.parseTuple(value)
		case nl.CTA_ZONE:
			f.Zone = binary.BigEndian.Uint16(value)
		case nl.CTA_MARK:
			f.Mark = binary.BigEndian.Uint32(value)
		case nl.CTA_STATUS:
			f.Expected = binary.BigEndian.Uint32(value)&statusExpected != 0
		}
		return nil
	})
	return f, err
}

func (f *Flow) parseTuple(tuple []byte) error {
	return attributes(tuple, func(kind uint16, value []byte) error {
		switch kind {
		case nl.CTA_TUPLE_IP:
			return attributes(value, f.parseAddress)
		case nl.CTA_TUPLE_PROTO:
			return attributes(value, f.parseProtocol)
		}
		return nil
	})
}

func (f *Flow) parseAddress(kind uint16, value []byte) error {
	a, ok := netip.AddrFromSlice(value)
	if !ok {
		return errors.New("address of a wrong length")
	}
	switch kind {
	case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
		f.Source = a
	case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
		f.Dest = a
	}
	return nil
}

func (f *Flow) parseProtocol(kind uint16, value []byte) error {
	switch kind {
	case nl.CTA_PROTO_NUM:
		f.Protocol = value[0]
	case nl.CTA_PROTO_SRC_PORT:
		f.SourcePort = binary.BigEndian.Uint16(value)
	case nl.CTA_PROTO_DST_PORT:
		f.DestPort = binary.BigEndian.Uint16(value)
	case protoICMPType, protoICMPv6Type:
		f.ICMPType = value[0]
	case protoICMPCode, protoICMPv6Code:
		f.ICMPCode = value[0]
	}
	return nil
}

func attributes(b []byte, f func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr+1 || length > len(b) {
			return errors.New("truncated attribute")
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&attrType, b[unix.SizeofNlAttr:length]); err != nil {
			return err
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}
