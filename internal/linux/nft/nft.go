// Package nft changes and reads nftables through nft(8). One Run is one atomic batch: the kernel takes all of it or
// nothing.
package nft

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// timeout bounds one nft process. Ten thousand rules take less than a second.
const timeout = 30 * time.Second

// ErrNotFound says that the table (or what else was named) is not there.
var ErrNotFound = errors.New("nft: no such table")

// Run applies a script.
func Run(ctx context.Context, script string) error {
	_, err := run(ctx, script, "-f", "-")
	return err
}

// Check has the kernel validate a script without applying it.
func Check(ctx context.Context, script string) error {
	_, err := run(ctx, script, "-c", "-f", "-")
	return err
}

func run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // the messages are matched below
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		message := errs.String()
		if strings.Contains(message, "No such file or directory") {
			return nil, fmt.Errorf("%w: %s", ErrNotFound, firstLines(message))
		}
		err = cmp.Or(ctx.Err(), err) // killed, because the caller is to stop or it took too long
		return nil, fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, firstLines(message))
	}
	return out.Bytes(), nil
}

// firstLines keeps error texts readable: nft repeats the offending line, which may hold thousands of elements.
func firstLines(s string) string {
	const most = 400
	s = strings.TrimSpace(s)
	return s[:min(len(s), most)]
}
