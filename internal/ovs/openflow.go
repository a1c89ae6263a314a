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
	"slices"
	"time"
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
	typeSetConfig  = 9
	typeAsk        = 18 // multipart
	typeAnswer     = 19
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
		m, err := c.receive(buffer)
		switch {
		case err != nil:
			return err
		case m.kind == typeError && len(m.body) >= 4:
			return fmt.Errorf("OpenFlow error %d.%d", binary.BigEndian.Uint16(m.body), binary.BigEndian.Uint16(m.body[2:]))
		case m.kind != typeAnswer || m.xid != xid:
			continue
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
