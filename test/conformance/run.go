package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed tests.txt
var builtinList string

//go:embed unannounced.txt
var unannouncedList string

// unannounced are extensions that Neutrino serves without an entry in its list, and which tests look for.
var unannounced = []string{"dvr", "l3-ha", "router-admin-state-down-before-update", "qos", "qos-bw-minimum-ingress", "qos-pps", "qos-pps-minimum",
	"port-resource-request", "port-resource-request-groups"}

// smokeTests are tests with the tag smoke, and some of resources of which none has it.
var smokeTests = regexp.MustCompile(`[\[,]smoke[\],]|` +
	`\.test_(extensions|address_scopes|revisions|timestamp|service_providers)\.|\.SecGroupTest\.|\.RoutersNegativeTest\.`)

// tests are the names of the tests to run.
func (o *options) tests() ([]string, error) {
	text := builtinList + unannouncedList
	if o.list != "" {
		data, err := os.ReadFile(o.list)
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	pattern, err := regexp.Compile(o.pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var names []string
	for line := range strings.Lines(text) {
		name := strings.TrimSpace(line)
		if name != "" && name[0] != '#' && pattern.MatchString(name) && (!o.smoke || smokeTests.MatchString(name)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no test of the list is chosen")
	}
	return names, nil
}

// split tells the tests of unannounced extensions from the others.
func split(names []string) (announced, others []string) {
	for _, name := range names {
		if strings.Contains(unannouncedList, name+"\n") {
			others = append(others, name)
		} else {
			announced = append(announced, name)
		}
	}
	return announced, others
}

// test runs a cloud and the tests. It is called inside namespaces.
func (o *options) test(ctx context.Context) (err error) {
	db, known := databases[o.database]
	if !known {
		return fmt.Errorf("-database %s: it is one of %s", o.database, strings.Join(sortedKeys(databases), ", "))
	}
	names, err := o.tests()
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return err
	}
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	s := &system{root: o.tree.root(), results: o.results, died: died}
	if s.results == "" {
		if s.results, err = os.MkdirTemp("", "conformance-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(s.results)
			}
		}()
	} else if err := os.MkdirAll(s.results, 0o755); err != nil {
		return err
	}
	began := time.Now()
	c, err := startCloud(ctx, s, db, binary)
	if err != nil {
		return err
	}
	fmt.Printf("the cloud with %s is up after %.0f s and announces %d extensions; %d tests are to run\n",
		o.database, time.Since(began).Seconds(), len(c.extensions), len(names))
	r := newReport(names, os.Stdout)
	others := cloud{publicNetwork: c.publicNetwork, extensions: append(unannounced, c.extensions...)}
	announcedTests, otherTests := split(names)
	if err := errors.Join(runTempest(ctx, s, c, announcedTests, r), runTempest(ctx, s, others, otherTests, r), r.finish(s.results)); err != nil {
		return err
	}
	fmt.Printf("conformance on %s: every test passed, in %.0f s\n", o.database, time.Since(began).Seconds())
	return nil
}

// startCloud starts everything that the tests need.
func startCloud(ctx context.Context, s *system, db database, binary string) (cloud, error) {
	for _, step := range []func() error{
		detachMounts,
		hideHost,
		s.mountWork,
		networkDevices,
		func() error { return unix.Sethostname([]byte("conformance")) },
		func() error { return db.start(ctx, s) },
		func() error { return startKeystone(ctx, s) },
		func() error { return seedIdentity(ctx) },
		func() error { return startNeutron(ctx, s, binary, db.url(s)) },
		func() error { return waitForAgents(ctx) },
	} {
		if err := step(); err != nil {
			return cloud{}, err
		}
		if ctx.Err() != nil {
			return cloud{}, context.Cause(ctx)
		}
	}
	return seedNetwork(ctx)
}
