package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The Debian release with Keystone and the test suites of OpenStack 2026.2.
const suite = "sid"

// packages of the tree. What they recommend is left out.
var packages = []string{
	"keystone", "uwsgi-core", "uwsgi-plugin-python3",
	"python3-tempest", "neutron-tempest-plugin", "python3-stestr",
	"mariadb-server", "postgresql",
}

// Files that keep the packages' scripts from starting daemons, from making databases and from asking for answers.
var quiet = map[string]string{
	"usr/sbin/policy-rc.d":                            "#!/bin/sh\nexit 101\n",
	"etc/postgresql-common/createcluster.d/none.conf": "create_main_cluster = false\n",
	"etc/apt/apt.conf.d/90conformance": `APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Dpkg::Options { "--force-unsafe-io"; };
`,
	"etc/dpkg/dpkg.cfg.d/conformance": "path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n",
}

// answers are for debconf: OpenStack's packages offer to make databases and endpoints.
const answers = `keystone keystone/configure_db boolean false
keystone keystone/create-admin-tenant boolean false
keystone keystone/register-endpoint boolean false
`

// tree is a Debian system in a directory of its own, with all that a run needs besides our binary.
type tree struct {
	dir    string // the cache
	mirror string
}

// root is where the tree is once it is complete.
func (t tree) root() string { return filepath.Join(t.dir, suite) }

// partial is where it is being built.
func (t tree) partial() string { return t.root() + ".partial" }

// recipe names what the tree was built from.
func (t tree) recipe() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%v %v %v %v\n", suite, packages, quiet, answers)
	return hex.EncodeToString(sum.Sum(nil))
}

func (t tree) complete() bool {
	stamp, err := os.ReadFile(filepath.Join(t.root(), "recipe"))
	return err == nil && string(stamp) == t.recipe()
}

// ensure builds the tree unless it is there. Of several callers one builds and the others wait.
func (t tree) ensure(ctx context.Context) error {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(t.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if t.complete() {
		return nil
	}
	fmt.Printf("building a Debian %s tree in %s; this takes a few minutes, once\n", suite, t.root())
	for _, old := range []string{t.partial(), t.root()} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := isolated(ctx, phaseBuild); err != nil {
		return err
	}
	return os.Rename(t.partial(), t.root())
}

func (t tree) log() string { return filepath.Join(t.dir, "build.log") }

// build makes the partial tree. It runs in a mount namespace of its own, so that what it and debootstrap mount goes away
// with it, however it ends.
func (t tree) build(ctx context.Context) error {
	log, err := os.Create(t.log())
	if err != nil {
		return err
	}
	defer log.Close()
	run := func(stdin, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), log, log
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "PATH="+searchPath)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w; see %s", strings.Join(cmd.Args, " "), err, t.log())
		}
		return nil
	}
	root := t.partial()
	if err := run("", "debootstrap", "--variant=minbase", "--include=ca-certificates", suite, root, t.mirror); err != nil {
		return err
	}
	for file, text := range quiet {
		if err := writeFile(filepath.Join(root, file), text, 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(root, file), string(text), 0o644); err != nil {
			return err
		}
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{answers, []string{"debconf-set-selections"}},
		{"", []string{"apt-get", "update", "-q"}},
		{"", append([]string{"apt-get", "install", "-qy"}, packages...)},
		{"", []string{"apt-get", "clean"}},
	} {
		if err := run(step.stdin, "chroot", append([]string{root}, step.args...)...); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, workDir), 0o755); err != nil {
		return err
	}
	return writeFile(filepath.Join(root, "recipe"), t.recipe(), 0o644)
}

// debianMirror is the mirror that this machine's packages come from.
func debianMirror(ctx context.Context) (string, error) {
	out, _ := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").Output()
	for site := range strings.FieldsSeq(string(out)) {
		if strings.HasSuffix(strings.TrimSuffix(site, "/"), "/debian") {
			return site, nil
		}
	}
	return "", errors.New("apt has no Debian mirror: name one in CONFORMANCE_MIRROR")
}

func writeFile(name, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), mode)
}
