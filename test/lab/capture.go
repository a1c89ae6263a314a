package lab

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Capture is a tcpdump that runs.
type Capture struct{ process *Process }

// Capture records frames that pass a device of the node. The filter is tcpdump's.
func (n *Node) Capture(device, filter string) *Capture {
	n.lab.T.Helper()
	return n.capture(device, filter)
}

// CaptureTunnels records what goes from host to host by VXLAN, with the frames inside.
func (h *Host) CaptureTunnels() *Capture {
	h.lab.T.Helper()
	port := vxlanPort
	if h.lab.OpenVSwitch {
		port = switchVXLANPort
	}
	return h.capture("under0", fmt.Sprintf("udp port %d", port), "-T", "vxlan") // tcpdump takes 8472 for OTV
}

func (n *Node) capture(device, filter string, options ...string) *Capture {
	n.lab.T.Helper()
	args := []string{"tcpdump", "-Z", "root", "-i", device, "-nn", "-e", "-l", "--immediate-mode"}
	args = append(append(args, options...), strings.Fields(filter)...)
	p := n.startTool("tcpdump-"+device, args...)
	if err := p.waitForLog("listening on", patience); err != nil {
		n.lab.T.Fatalf("capture on %s of %s: %v", device, n.Name, err)
	}
	return &Capture{p}
}

// Every frame begins with the time; what tcpdump says of the frame inside a tunnel follows on the next line.
var frameStart = regexp.MustCompile(`^[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+ `)

// Frames returns what was recorded until now, one line a frame.
func (c *Capture) Frames() []string {
	var frames []string
	for line := range strings.Lines(c.process.Log()) {
		line = strings.TrimRight(line, "\n")
		switch {
		case frameStart.MatchString(line):
			frames = append(frames, line)
		case len(frames) > 0 && strings.Contains(line, " > "):
			frames[len(frames)-1] += " | " + line
		}
	}
	return frames
}

// Stop ends the capture, a moment after the frames that are just on their way, and returns what was recorded. A frame that must be
// there is waited for by WaitFor: a busy machine needs longer than that moment.
func (c *Capture) Stop() []string {
	time.Sleep(100 * time.Millisecond)
	c.process.Kill()
	return c.Frames()
}

// WaitFor waits until a frame with the text was recorded.
func (c *Capture) WaitFor(text string, within time.Duration) (frame string, err error) {
	err = Eventually(within, func() error {
		for _, f := range c.Frames() {
			if strings.Contains(f, text) {
				frame = f
				return nil
			}
		}
		return fmt.Errorf("no frame with %q on %s among %d", text, c.process.node.Name, len(c.Frames()))
	})
	return frame, err
}
