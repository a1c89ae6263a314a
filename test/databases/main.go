// Command databases runs a command, such as go test, once on each database server: it starts a PostgreSQL and a MariaDB
// server of its own, tells the tests about them by the environment, and ends them. "-on mysql" runs it on that only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"neutrino/internal/store/dbtest"
)

func main() {
	on := flag.String("on", "", "only this `KIND` of server: postgresql or mysql")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var errs []error
	for _, kind := range dbtest.Kinds() {
		if *on == "" || *on == kind {
			errs = append(errs, run(ctx, kind, flag.Args()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run starts a server, runs the command on it and ends it.
func run(ctx context.Context, kind string, command []string) (err error) {
	if len(command) == 0 {
		return errors.New("which command?")
	}
	server, err := dbtest.StartServer(ctx, kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	fmt.Println("on", kind)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = slices.Concat(os.Environ(), []string{server.Environment()})
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("on %s: %w", kind, err)
	}
	return nil
}
