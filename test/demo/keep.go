package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"neutrino/test/lab"
)

// pidFile names the demo that is left running.
const pidFile = "/run/neutrino-demo.pid"

// keep leaves everything running until a signal comes.
func (d *scene) keep(stop <-chan os.Signal) {
	listener, err := listen()
	if err != nil {
		d.Logf("the API cannot be offered here: %v", err)
		return
	}
	defer listener.Close()
	go forward(listener, d.cloud)
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		d.Logf("%v", err)
	}
	defer os.Remove(pidFile)
	d.allowPings() // the last step has shut them off
	enter := func(n *lab.Node) string { return fmt.Sprintf("nsenter -t %d -n -m -u -p", n.Pid()) }
	fmt.Fprintf(d.out, `
Everything is left running. The API for openstackclient, from any shell of this machine:

  alias os='openstack --os-auth-type none --os-endpoint http://%[1]s'
  os network list; os port list; os router show edge

The machines (as root):

  %[2]s bash                         # a shell in instance web
  %[2]s ping %[7]s          # web pings db
  %[3]s ping %[8]s          # the internet pings web's floating IP
  %[4]s ip netns                     # the host: namespaces, bridges, filters
  %[4]s tcpdump -nei any
  %[4]s nft list ruleset

Logs and database: %[5]s
To remove everything: Ctrl-C here, or "make demo-stop" (process %[6]d).
`, listener.Addr(), enter(d.web.Node), enter(d.cloud.Internet), enter(d.cloud.Network.Node), d.cloud.Dir, os.Getpid(),
		d.db.IP(), d.fip)
	<-stop
}

// listen takes the API's usual port, or any that is free.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:9696")
	if errors.Is(err, syscall.EADDRINUSE) {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return l, err
}

// forward carries connections to the API inside the host's namespace.
func forward(l net.Listener, c *lab.Cloud) {
	for {
		outside, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer outside.Close()
			inside, err := c.Network.Dial(context.Background(), lab.APIAddress)
			if err != nil {
				return
			}
			defer inside.Close()
			go func() {
				_, _ = io.Copy(inside, outside)
				_ = inside.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(outside, inside)
		}()
	}
}

// stopKept ends the demo that is left running and waits until it is gone.
func stopKept() error {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("no demo is left running")
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	other, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || filepath.Base(strings.TrimSuffix(other, " (deleted)")) != filepath.Base(self) {
		return os.Remove(pidFile) // the demo died, and another process may have its number
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	return lab.Eventually(30*time.Second, func() error {
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			return nil
		}
		return fmt.Errorf("process %d still runs", pid)
	})
}
