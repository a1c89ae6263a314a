package lab

import (
	"fmt"
	"strings"
	"time"
)

// Capture is a tcpdump that runs.
type Capture struct{ process *Process }

// Capture records frames that pass a device of the node. The filter is tcpdump's.
func (n *Node) Capture(device, filter string) *Capture {
	n.lab.T.Helper()
	args := append([]string{"tcpdump", "-Z", "root", "-i", device, "-nn", "-e", "-l", "--immediate-mode"},
		strings.Fields(filter)...)
	p := n.startTool("tcpdump-"+device, args...)
	if err := p.waitForLog("listening on", 5*time.Second); err != nil {
		n.lab.T.Fatalf("capture on %s of %s: %v", device, n.Name, err)
	}
	return &Capture{p}
}

// Frames returns what was recorded until now, one line a frame.
func (c *Capture) Frames() []string {
	var frames []string
	for line := range strings.Lines(c.process.Log()) {
		if line[0] >= '0' && line[0] <= '9' && strings.Contains(line, " > ") { // begins with the time
			frames = append(frames, strings.TrimSpace(line))
		}
	}
	return frames
}

// Stop ends the capture, a moment after the frames that are just on their way, and returns what was recorded.
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
