package ovs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func sorted(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Switch is an ovs-vswitchd, given by the directory with its sockets.
type Switch struct{ RunDir string }

// commandTimeout is how long an ovs-ofctl may take; ten thousand flows take less than a second.
const commandTimeout = 30 * time.Second

func (s Switch) socket(bridge string) string { return filepath.Join(s.RunDir, bridge+".mgmt") }

// ofctl runs ovs-ofctl on a bridge. args follow the bridge.
func (s Switch) ofctl(ctx context.Context, input string, flags []string, command, bridge string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	all := append([]string{"-O", "OpenFlow14"}, flags...)
	all = append(append(all, command, "unix:"+s.socket(bridge)), args...)
	c := exec.CommandContext(ctx, "ovs-ofctl", all...)
	c.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("ovs-ofctl %s %s: %w: %s", command, bridge, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Cookies lists the cookies of our flows in a bridge.
func (s Switch) Cookies(ctx context.Context, bridge string) (map[uint64]bool, error) {
	dump, err := s.Dump(ctx, bridge, "")
	return cookies(dump), err
}

// Dump lists the flows of a bridge that match.
func (s Switch) Dump(ctx context.Context, bridge, match string) (string, error) {
	if match == "" {
		return s.ofctl(ctx, "", []string{"--no-stats"}, "dump-flows", bridge)
	}
	return s.ofctl(ctx, "", []string{"--no-stats"}, "dump-flows", bridge, match)
}

// Strangers are the lines of a bundle that removes the flows of others from the tables.
func (s Switch) Strangers(ctx context.Context, bridge string, tables []int) (bundle string, err error) {
	dump, err := s.Dump(ctx, bridge, "")
	return strangers(dump, tables), err
}

// Apply carries out a bundle: all of it, or nothing.
func (s Switch) Apply(ctx context.Context, bridge, bundle string) error {
	_, err := s.ofctl(ctx, bundle, []string{"--bundle"}, "add-flows", bridge, "-")
	return err
}

// OpenFlow messages that Watch needs (OpenFlow 1.4, section 7.1).
const (
	openFlow14    = 5
	typeHello     = 0
	typeEchoAsk   = 2
	typeEchoBack  = 3
	typeSetConfig = 9
)

// showPorts has the switch show flows the ports that the first fragment of a datagram has; by default flows see none in any fragment
// (OFPC_FRAG_NX_MATCH, openflow/openflow-common.h). It holds until ovs-vswitchd ends.
const showPorts = 3

// Watch holds a connection to a bridge and returns when that ends, that is when ovs-vswitchd or the bridge does, or ctx.
// connected is called once it stands. First fragments are shown to the bridge's flows with their ports.
func (s Switch) Watch(ctx context.Context, bridge string, connected func()) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", s.socket(bridge))
	if err != nil {
		return fmt.Errorf("connect to bridge %s: %w", bridge, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	hello := []byte{openFlow14, typeHello, 0, 8, 0, 0, 0, 0}
	config := []byte{openFlow14, typeSetConfig, 0, 12, 0, 0, 0, 0, 0, showPorts, 0, 0} // and no packets to be sent here
	if _, err := conn.Write(append(hello, config...)); err != nil {
		return fmt.Errorf("greet bridge %s: %w", bridge, err)
	}
	connected()
	for {
		header := make([]byte, 8)
		if _, err := io.ReadFull(conn, header); err != nil {
			return fmt.Errorf("connection to bridge %s: %w", bridge, err)
		}
		body := make([]byte, max(int(binary.BigEndian.Uint16(header[2:])), 8)-8)
		if _, err := io.ReadFull(conn, body); err != nil {
			return fmt.Errorf("connection to bridge %s: %w", bridge, err)
		}
		if header[1] == typeEchoAsk {
			header[1] = typeEchoBack
			if _, err := conn.Write(append(header, body...)); err != nil {
				return fmt.Errorf("answer bridge %s: %w", bridge, err)
			}
		}
	}
}
