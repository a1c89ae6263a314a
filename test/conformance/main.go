// Command conformance lets OpenStack's own tests judge Neutrino: tempest and neutron-tempest-plugin, against a
// `neutrino server` with agents and a Keystone. It needs root and debootstrap; all else comes from Debian into a tree that
// is kept in CONFORMANCE_DIR.
//
//	conformance [-database sqlite|mariadb|postgresql] [-smoke] [-run REGEX] [-list FILE]
//
// The exit status is 0 only if every test of the list passed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are the command line.
type options struct {
	binary   string
	database string
	list     string
	pattern  string
	smoke    bool
	results  string
	tree     tree
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "build/neutrino", "the binary of Neutrino")
	flag.StringVar(&o.database, "database", "sqlite", "the database of Neutrino: sqlite, mariadb or postgresql")
	flag.StringVar(&o.list, "list", "", "`file` with names of tests, one a line, instead of the built-in list")
	flag.StringVar(&o.pattern, "run", "", "only tests of the list whose name matches the `regex`")
	flag.BoolVar(&o.smoke, "smoke", false, "only the tests of the list that are tagged as smoke tests, and a few more")
	flag.StringVar(&o.results, "results", "", "`directory` for logs and details (default: a new one in CONFORMANCE_DIR)")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := o.run(ctx)
	cancel()
	if err != nil && !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this makes namespaces and a Debian tree, and needs root")
	}
	o.tree = tree{dir: os.Getenv("CONFORMANCE_DIR"), mirror: os.Getenv("CONFORMANCE_MIRROR")}
	if o.tree.dir == "" {
		o.tree.dir = "/var/cache/neutrino/conformance"
	}
	switch phase(os.Getenv(phaseVariable)) {
	case phaseBuild:
		if o.tree.mirror == "" {
			var err error
			if o.tree.mirror, err = debianMirror(ctx); err != nil {
				return err
			}
		}
		if err := detachMounts(); err != nil {
			return err
		}
		return o.tree.build(ctx)
	case phaseTest:
		return o.test(ctx)
	}
	if err := o.tree.ensure(ctx); err != nil {
		return err
	}
	return isolated(ctx, phaseTest)
}
