package ovs

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
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
	all := append([]string{"-O", "OpenFlow14", "--no-names"}, flags...) // or it would ask for the names of all ports and tables first
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

// Dump lists the flows of a bridge that match.
func (s Switch) Dump(ctx context.Context, bridge, match string) (string, error) {
	if match == "" {
		return s.ofctl(ctx, "", []string{"--no-stats"}, "dump-flows", bridge)
	}
	return s.ofctl(ctx, "", []string{"--no-stats"}, "dump-flows", bridge, match)
}

// Apply carries out a bundle: all of it, or nothing.
func (s Switch) Apply(ctx context.Context, bridge, bundle string) error {
	_, err := s.ofctl(ctx, bundle, []string{"--bundle"}, "add-flows", bridge, "-")
	return err
}

// ApplyAll carries out bundles in stages, those of one stage side by side. After an error nobody knows which were carried out.
func (s Switch) ApplyAll(ctx context.Context, bridge string, stages [][]string) error {
	for _, bundles := range stages {
		g, ctx := errgroup.WithContext(ctx)
		for _, bundle := range bundles {
			g.Go(func() error { return s.Apply(ctx, bridge, bundle) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Leave takes our flows out of a bridge and has it switch as one that nobody programs. Flows of others stay.
func (s Switch) Leave(ctx context.Context, bridge string) error {
	return s.Apply(ctx, bridge, fmt.Sprintf("delete cookie=%#x/%#x\nadd table=0,priority=0,actions=NORMAL\n", uint64(cookieMark), uint64(cookieMask)))
}
