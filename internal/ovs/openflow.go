package ovs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What is used of OpenFlow 1.4 (section 7; Open vSwitch's include/openflow/openflow-1.3.h for statistics). Everything else is
// left to ovs-ofctl.
const (
	openFlow14     = 5
	headerSize     = 8
	typeHello      = 0
	typeError      = 1
	typeEchoAsk    = 2
	typeEchoBack   = 3
	typeVendor     = 4
	typeSetConfig  = 9
	typePacketOut  = 13
	typeAsk        = 18 // multipart
	typeAnswer     = 19
	typeBarrier    = 20
	typeBarrierEnd = 21
	multipartFlows = 1
	multipartMore  = 1 // flag: another part follows

	anyTable  = 0xff
	anyOutput = 0xffffffff
	matchOXM  = 1

	// showPorts has the switch show flows the ports that the first fragment of a datagram has; by default flows see none in any
	// fragment (OFPC_FRAG_NX_MATCH, openflow/openflow-common.h). It holds until ovs-vswitchd ends.
	showPorts = 3

	flowTable  = 2 // offsets in the statistics of a flow
	flowCookie = 24
	flowMatch  = 48
)

// message is one of OpenFlow without its body's meaning.
type message struct {
	kind byte
	xid  uint32
	body []byte
}

// connection is one to a bridge, after our greeting. Its own answers to echoes keep it alive.
type connection struct {
	net.Conn
	in *bufio.Reader
}

// dial greets a bridge. ctx bounds the connection's life.
func (s Switch) dial(ctx context.Context, bridge string) (*connection, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", s.socket(bridge))
	if err != nil {
		return nil, fmt.Errorf("connect to bridge %s: %w", bridge, err)
	}
	c := &connection{conn, bufio.NewReaderSize(conn, 1<<16)}
	if err := c.send(message{kind: typeHello}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet bridge %s: %w", bridge, err)
	}
	return c, nil
}

func (c *connection) send(m message) error {
	text := make([]byte, headerSize, headerSize+len(m.body))
	text[0], text[1] = openFlow14, m.kind
	binary.BigEndian.PutUint16(text[2:], uint16(headerSize+len(m.body)))
	binary.BigEndian.PutUint32(text[4:], m.xid)
	_, err := c.Write(append(text, m.body...))
	return err
}

// receive returns the next message that is no echo. Its body is valid until the next call.
func (c *connection) receive(buffer []byte) (message, error) {
	for {
		header := buffer[:headerSize]
		if _, err := io.ReadFull(c.in, header); err != nil {
			return message{}, err
		}
		m := message{kind: header[1], xid: binary.BigEndian.Uint32(header[4:])}
		m.body = buffer[:max(int(binary.BigEndian.Uint16(header[2:])), headerSize)-headerSize]
		if _, err := io.ReadFull(c.in, m.body); err != nil {
			return message{}, err
		}
		if m.kind != typeEchoAsk {
			return m, nil
		}
		if err := c.send(message{typeEchoBack, m.xid, m.body}); err != nil {
			return message{}, err
		}
	}
}

// Watch holds a connection to a bridge and returns when that ends, that is when ovs-vswitchd or the bridge does, or ctx.
// connected is called once it stands. First fragments are shown to the bridge's flows with their ports.
func (s Switch) Watch(ctx context.Context, bridge string, connected func()) error {
	c, err := s.dial(ctx, bridge)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	config := []byte{0, showPorts, 0, 0} // and no packets to be sent here
	if err := c.send(message{kind: typeSetConfig, body: config}); err != nil {
		return fmt.Errorf("configure bridge %s: %w", bridge, err)
	}
	connected()
	for buffer := make([]byte, 1<<16); ; {
		if _, err := c.receive(buffer); err != nil {
			return fmt.Errorf("connection to bridge %s: %w", bridge, err)
		}
	}
}

// Survey is which flows a bridge has.
type Survey struct {
	Own    map[uint64]bool // cookies of ours, without those that were learned
	others map[stranger]bool
}

// stranger are flows of others, which have a cookie and a table in common.
type stranger struct {
	cookie uint64
	table  int
}

// Removals are the lines of a bundle that removes the flows of others from the tables.
func (v *Survey) Removals(tables []int) string {
	var lines []string
	for x := range maps.Keys(v.others) {
		if slices.Contains(tables, x.table) {
			lines = append(lines, fmt.Sprintf("delete cookie=%#x/-1,table=%d\n", x.cookie, x.table))
		}
	}
	return sorted(lines)
}

// Survey asks for the flows of a bridge. It reads no more of them than tables and cookies: of a host with a thousand ports
// that takes a tenth of a second, where the text of ovs-ofctl takes one.
func (s Switch) Survey(ctx context.Context, bridge string) (*Survey, error) {
	c, err := s.dial(ctx, bridge)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := c.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return nil, fmt.Errorf("flows of bridge %s: %w", bridge, err)
	}
	v := &Survey{Own: map[uint64]bool{}, others: map[stranger]bool{}}
	if err := c.survey(v); err != nil {
		return nil, fmt.Errorf("flows of bridge %s: %w", bridge, err)
	}
	return v, nil
}

func (c *connection) survey(v *Survey) error {
	ask := make([]byte, 48) // its cookie and mask are zero: any
	binary.BigEndian.PutUint16(ask, multipartFlows)
	ask[8] = anyTable
	binary.BigEndian.PutUint32(ask[12:], anyOutput) // port
	binary.BigEndian.PutUint32(ask[16:], anyOutput) // group
	binary.BigEndian.PutUint16(ask[40:], matchOXM)  // of nothing, padded to eight bytes
	binary.BigEndian.PutUint16(ask[42:], 4)
	const xid = 1
	if err := c.send(message{typeAsk, xid, ask}); err != nil {
		return err
	}
	for buffer := make([]byte, 1<<16); ; {
		m, err := c.answer(buffer, typeAnswer, xid)
		switch {
		case err != nil:
			return err
		case len(m.body) < 8:
			return errShort
		}
		if err := v.read(m.body[8:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint16(m.body[2:])&multipartMore == 0 {
			return nil
		}
	}
}

var errShort = errors.New("OpenFlow message is too short")

// read notes the flows of one part of an answer.
func (v *Survey) read(flows []byte) error {
	for len(flows) > 0 {
		if len(flows) < flowMatch {
			return errShort
		}
		size := int(binary.BigEndian.Uint16(flows))
		if size < flowMatch || size > len(flows) {
			return errShort
		}
		cookie := binary.BigEndian.Uint64(flows[flowCookie:])
		switch {
		case cookie&cookieMask != cookieMark:
			v.others[stranger{cookie, int(flows[flowTable])}] = true
		case cookie != LearnCookie:
			v.Own[cookie] = true
		}
		flows = flows[size:]
	}
	return nil
}

// What of Open vSwitch's extensions has connections forgotten, from its release 3.1 on (openflow/nicira-ext.h, NXT_CT_FLUSH).
const (
	vendorNicira = 0x2320
	ctFlush      = 32
	ctFirst      = 0 // the connection by its first packet
	ctSource     = 0 // in which this is the address it came from
	ctTarget     = 1 // and this the one it went to
	ctZone       = 2
)

// anyProtocol stands for all protocols.
const anyProtocol = 0

// forgotten are the protocols of an address whose connections can be forgotten. An ovs-vswitchd 3.1 with the userspace datapath aborts when
// it is to forget one of ICMPv6 (it looks for the opposite of its type among those of ICMP); those end by themselves within a minute.
func forgotten(a netip.Addr) []byte {
	if a.Is4() {
		return []byte{anyProtocol}
	}
	return []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}
}

// Forget has the switch forget the tracked connections of a zone whose first packet was from or to one of the addresses; without addresses, all.
// ICMPv6 of addresses is left out.
func (s Switch) Forget(ctx context.Context, bridge string, zone uint16, addresses []netip.Addr) error {
	c, err := s.dial(ctx, bridge)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return fmt.Errorf("connections of bridge %s: %w", bridge, err)
	}
	if len(addresses) == 0 {
		if err := c.send(message{kind: typeVendor, body: flushBody(zone, anyProtocol, nil)}); err != nil {
			return fmt.Errorf("connections of bridge %s: %w", bridge, err)
		}
	}
	for _, a := range addresses {
		for _, protocol := range forgotten(a) {
			for _, side := range []uint16{ctSource, ctTarget} {
				if err := c.send(message{kind: typeVendor, body: flushBody(zone, protocol, oneEnd(side, a))}); err != nil {
					return fmt.Errorf("connections of bridge %s: %w", bridge, err)
				}
			}
		}
	}
	if err := c.barrier(); err != nil {
		return fmt.Errorf("connections of bridge %s: %w", bridge, err)
	}
	return nil
}

// flushBody names connections by their zone, protocol and first packet.
func flushBody(zone uint16, protocol byte, first []byte) []byte {
	body := binary.BigEndian.AppendUint32(nil, vendorNicira)
	body = binary.BigEndian.AppendUint32(body, ctFlush)
	body = append(append(body, protocol, 0, 0, 0, 0, 0, 0, 0), first...)
	body = binary.BigEndian.AppendUint16(body, ctZone)
	body = binary.BigEndian.AppendUint16(body, 8)
	return append(binary.BigEndian.AppendUint16(body, zone), 0, 0)
}

// oneEnd is a first packet with one address. IPv4 addresses are mapped into IPv6.
func oneEnd(side uint16, a netip.Addr) []byte {
	address := a.As16()
	property := binary.BigEndian.AppendUint16(nil, ctFirst)
	property = append(binary.BigEndian.AppendUint16(property, 32), 0, 0, 0, 0) // the length of what is inside, too
	property = binary.BigEndian.AppendUint16(property, side)
	property = binary.BigEndian.AppendUint16(property, 20)
	return append(append(property, address[:]...), 0, 0, 0, 0)
}

// barrier waits until the switch has done what it was told.
func (c *connection) barrier() error {
	const xid = 2
	if err := c.send(message{kind: typeBarrier, xid: xid}); err != nil {
		return err
	}
	_, err := c.answer(make([]byte, 1<<16), typeBarrierEnd, xid)
	return err
}

// answer waits for the message of a kind that answers what was asked under an xid, or for an error.
func (c *connection) answer(buffer []byte, kind byte, xid uint32) (message, error) {
	for {
		m, err := c.receive(buffer)
		switch {
		case err != nil:
			return m, err
		case m.kind == typeError && len(m.body) >= 4:
			return m, openFlowError(m)
		case m.kind == kind && m.xid == xid:
			return m, nil
		}
	}
}

func openFlowError(m message) error {
	return fmt.Errorf("OpenFlow error %d.%d", binary.BigEndian.Uint16(m.body), binary.BigEndian.Uint16(m.body[2:]))
}

// What has a packet go through the flows (OpenFlow 1.4, sections 7.2.4.1 and 7.3.7).
const (
	noBuffer     = 0xffffffff
	toFlows      = 0xfffffff9 // OFPP_TABLE
	actionOutput = 0
)

// Receive has a bridge treat frames as if they had come in at a port with a VLAN tag.
func (s Switch) Receive(ctx context.Context, bridge string, port, vlan int, frames [][]byte) error {
	c, err := s.dial(ctx, bridge)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return fmt.Errorf("packets for bridge %s: %w", bridge, err)
	}
	for _, f := range frames {
		if err := c.send(message{kind: typePacketOut, body: packetOut(port, vlan, f)}); err != nil {
			return fmt.Errorf("packets for bridge %s: %w", bridge, err)
		}
	}
	if err := c.barrier(); err != nil {
		return fmt.Errorf("packets for bridge %s: %w", bridge, err)
	}
	return nil
}

func packetOut(port, vlan int, frame []byte) []byte {
	body := binary.BigEndian.AppendUint32(nil, noBuffer)
	body = binary.BigEndian.AppendUint32(body, uint32(port))
	body = binary.BigEndian.AppendUint16(body, 16)             // length of actions
	body = append(body, make([]byte, 6)...)                    // padding
	body = binary.BigEndian.AppendUint16(body, actionOutput)   //
	body = binary.BigEndian.AppendUint16(body, 16)             // its length
	body = binary.BigEndian.AppendUint32(body, toFlows)        //
	body = append(body, make([]byte, 8)...)                    // bytes for a controller, and padding
	const addresses = 12                                       // of both ends
	body = append(append(body, frame[:addresses]...), 0x81, 0) // 802.1Q
	body = binary.BigEndian.AppendUint16(body, uint16(vlan))
	return append(body, frame[addresses:]...)
}
