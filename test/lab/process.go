package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a daemon in a node. Its output goes to LogFile, which a restart continues.
type Process struct {
	Name    string
	LogFile string

	node *Node
	tool bool // something that looks on; its output does not explain a failure
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; read after done
}

// Start starts a daemon in the node.
func (n *Node) Start(name string, args ...string) *Process {
	n.lab.T.Helper()
	return n.run(name, args)
}

// startTool starts an observer under a name that is made unique.
func (n *Node) startTool(name string, args ...string) *Process {
	n.lab.T.Helper()
	p := n.run(fmt.Sprintf("%s-%d", name, n.lab.tools.Add(1)), args)
	p.tool = true
	return p
}

func (n *Node) run(name string, args []string) *Process {
	n.lab.T.Helper()
	p := &Process{Name: name, node: n, args: args, LogFile: filepath.Join(n.lab.Dir, n.Name+"-"+name+".log")}
	p.Restart()
	n.lab.mu.Lock()
	n.lab.processes = append(n.lab.processes, p)
	n.lab.mu.Unlock()
	return p
}

// Restart starts the daemon again with the same arguments, after Kill or Stop.
func (p *Process) Restart() {
	t := p.node.lab.T
	t.Helper()
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("log of %s: %v", p.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Dir = p.node.lab.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.node.start(cmd); err != nil {
		t.Fatalf("start %s in %s: %v", p.Name, p.node.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		p.err = cmd.Wait()
		close(done)
	}()
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	p.node.lab.T.Helper()
	_ = p.cmd.Process.Kill()
	if !p.wait(patient(time.Minute)) { // the kernel closes a thousand packet sockets one by one
		p.node.lab.T.Fatalf("%s in %s survives kill -9", p.Name, p.node.Name)
	}
}

// Stop ends the process by SIGTERM; it must end without an error within 10 s.
func (p *Process) Stop() {
	t := p.node.lab.T
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if !p.wait(patient(10 * time.Second)) {
		t.Fatalf("%s in %s does not stop on SIGTERM", p.Name, p.node.Name)
	}
	if p.err != nil {
		t.Fatalf("%s in %s stopped with %v", p.Name, p.node.Name, p.err)
	}
}

// Ended tells whether the process has ended by itself, and how.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s in %s has ended (%v): %w; its log ends with %q", p.Name, p.node.Name, p.err, errGone,
			lastLine(p.Log()))
	default:
		return nil
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Log returns what the process has printed.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.LogFile)
	return string(text)
}

// waitForLog waits until the process has printed the text.
func (p *Process) waitForLog(text string, within time.Duration) error {
	return Eventually(within, func() error {
		if strings.Contains(p.Log(), text) {
			return nil
		}
		if err := p.Ended(); err != nil {
			return err
		}
		return fmt.Errorf("%s did not say %q but %q", p.Name, text, p.Log())
	})
}

func (p *Process) wait(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// Pid is the process id, as seen from outside of the lab.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
