package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens a TCP socket in the node, which the end of the test closes.
func (n *Node) Listen(address string) net.Listener {
	n.lab.T.Helper()
	var listener net.Listener
	err := n.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		n.lab.T.Fatalf("listen in %s: %v", n.Name, err)
	}
	n.lab.T.Cleanup(func() { _ = listener.Close() })
	return listener
}

// Echo starts a TCP service on the port, v4 and v6, that sends back what it gets.
func (n *Node) Echo(port int) {
	n.lab.T.Helper()
	listener := n.Listen(fmt.Sprintf(":%d", port))
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// EchoUDP starts a UDP service on the port, v4 and v6, that sends back what it gets.
func (n *Node) EchoUDP(port int) {
	n.lab.T.Helper()
	var c net.PacketConn
	if err := n.Do(func() (err error) {
		c, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		n.lab.T.Fatalf("listen in %s: %v", n.Name, err)
	}
	n.lab.T.Cleanup(func() { _ = c.Close() })
	go func() {
		for buffer := make([]byte, 1<<16); ; {
			size, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buffer[:size], from)
		}
	}()
}

// Bounce sends so many bytes to an echo service and compares what comes back; network is "udp" or "tcp". A datagram is
// sent three times at most.
func (n *Node) Bounce(network string, to netip.Addr, port, size int) error {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i * 31 >> 3)
	}
	var c net.Conn
	if err := n.Do(func() (err error) {
		c, err = net.DialTimeout(network, netip.AddrPortFrom(to, uint16(port)).String(), patient(2*time.Second))
		return err
	}); err != nil {
		return fmt.Errorf("from %s: %w", n.Name, err)
	}
	defer c.Close()
	tries, patience := 1, 20*time.Second
	if network == "udp" {
		tries, patience = 3, 300*time.Millisecond
	}
	got, err := make([]byte, size), error(nil)
	for range tries {
		_ = c.SetDeadline(time.Now().Add(patient(patience)))
		go func() { _, _ = c.Write(payload) }()
		if _, err = io.ReadFull(c, got); err == nil {
			break
		}
	}
	if err == nil && !bytes.Equal(got, payload) {
		err = errors.New("other bytes came back")
	}
	if err != nil {
		return fmt.Errorf("%s, %d bytes from %s to %s: %w", network, size, n.Name, to, err)
	}
	return nil
}

// Dial connects from the node by TCP, for at most 3 s. The address is numeric.
func (n *Node) Dial(ctx context.Context, address string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: patient(3 * time.Second)}
		c, err = d.DialContext(ctx, "tcp", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("from %s: %w", n.Name, err)
	}
	return c, nil
}

// Connected dials until a connection stands, for as long as a machine under load needs to open a port. It is closed with the test.
func (n *Node) Connected(to netip.Addr, port int) (c net.Conn, err error) {
	err = Eventually(patience, func() (err error) {
		c, err = n.Dial(context.Background(), netip.AddrPortFrom(to, uint16(port)).String())
		return err
	})
	if err == nil {
		n.lab.T.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// Connect dials the echo service and tries it once. The connection is closed with the test.
func (n *Node) Connect(to netip.Addr, port int) (net.Conn, error) {
	c, err := n.Dial(context.Background(), netip.AddrPortFrom(to, uint16(port)).String())
	if err != nil {
		return nil, err
	}
	n.lab.T.Cleanup(func() { _ = c.Close() })
	return c, Exchange(c)
}

// Exchange sends a line over a connection to an echo service and waits for it to come back.
func Exchange(c net.Conn) error { return ExchangeWithin(c, 20*time.Second) }

// ExchangeWithin is Exchange that waits no longer than that.
func ExchangeWithin(c net.Conn, limit time.Duration) error {
	const line = "is anybody there?\n"
	if err := c.SetDeadline(time.Now().Add(patient(limit))); err != nil {
		return err
	}
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != line {
		return fmt.Errorf("echo service answered %q", got)
	}
	return nil
}

// HTTP returns a client whose connections start in the node.
func (n *Node) HTTP(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return n.Dial(ctx, address) },
	}}
}

// Get fetches a page from inside the node; any status but 200 is an error.
func (n *Node) Get(url string) (string, error) {
	client := n.HTTP(patient(20 * time.Second))
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s from %s: %s: %s", url, n.Name, response.Status, body)
	}
	return string(body), err
}

// SendUDP sends one datagram out of the device, to a broadcast address too.
func (n *Node) SendUDP(device string, from, to netip.AddrPort, payload []byte) error {
	control := func(_, _ string, raw syscall.RawConn) (err error) {
		e := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.BindToDevice(int(fd), device))
		})
		return errors.Join(err, e)
	}
	return n.Do(func() error {
		config := net.ListenConfig{Control: control}
		c, err := config.ListenPacket(context.Background(), "udp", from.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WriteTo(payload, net.UDPAddrFromAddrPort(to))
		return err
	})
}
