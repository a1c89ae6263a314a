package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// patience takes tempest's ten seconds before each deletion of a subnet away.
//
//go:embed patience.py
var patience string

const tempestConfiguration = `[DEFAULT]
debug = false
log_file = %[1]s/tempest.log
[auth]
use_dynamic_credentials = true
admin_username = admin
admin_password = %[2]s
admin_project_name = admin
admin_domain_name = Default
tempest_roles = member
create_isolated_networks = false
[identity]
uri_v3 = %[3]s
auth_version = v3
region = RegionOne
v3_endpoint_type = public
admin_role = admin
default_domain_id = default
[identity-feature-enabled]
api_v2 = false
api_v3 = true
[oslo_concurrency]
lock_path = %[1]s/lock
[network]
region = RegionOne
catalog_type = network
endpoint_type = public
public_network_id = %[4]s
floating_network_name = public
project_networks_reachable = false
build_timeout = 60
shared_physical_network = false
[network-feature-enabled]
api_extensions = %[5]s
ipv6 = true
ipv6_subnet_attributes = true
port_security = true
port_admin_state_change = true
floating_ips = true
[service_available]
neutron = true
nova = false
cinder = false
glance = false
swift = false
horizon = false
placement = false
[validation]
run_validation = false
[enforce_scope]
neutron = true
keystone = false
[neutron_plugin_options]
provider_vlans = public
agent_availability_zone = nova
available_type_drivers = flat,vlan,local,vxlan
dns_domain = openstackgate.local
create_shared_resources = true
max_networks_per_project = 10
`

const stestrConfiguration = `[DEFAULT]
test_path = /usr/lib/python3/dist-packages/tempest/test_discover
top_dir = /usr/lib/python3/dist-packages
group_regex = ([^\.]*\.)*
`

// runTempest runs the tests, if there are any. Its results go to the report while they come.
func runTempest(ctx context.Context, s *system, c cloud, tests []string, r *report) error {
	if len(tests) == 0 {
		return nil
	}
	const home = workDir + "/tempest"
	for name, text := range map[string]string{
		"tempest.conf":     fmt.Sprintf(tempestConfiguration, home, password, keystoneURL, c.publicNetwork, strings.Join(c.extensions, ",")),
		"stestr.conf":      stestrConfiguration,
		"tests":            strings.Join(tests, "\n") + "\n",
		"sitecustomize.py": patience,
		"lock/none":        "",
	} {
		if err := s.write(home+"/"+name, text, ""); err != nil {
			return err
		}
	}
	p := program{name: "tempest", env: []string{"TEMPEST_CONFIG_DIR=" + home, "TEMPEST_CONFIG=tempest.conf", "OS_TEST_TIMEOUT=500", "PYTHONPATH=" + home},
		args: []string{"/usr/bin/stestr", "--config", home + "/stestr.conf", "--repo-url", home, "run", "--subunit", "--concurrency", "2",
			"--load-list", home + "/tests"}}
	cmd, err := s.command(ctx, p)
	if err != nil {
		return err
	}
	cmd.Dir = home
	log, err := os.OpenFile(s.output(p), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start stestr: %w", err)
	}
	readErr := r.read(io.TeeReader(out, log))
	// Its exit status tells nothing that the report does not know.
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if readErr != nil {
		return fmt.Errorf("results of tempest: %w (%v); see %s", readErr, waitErr, log.Name())
	}
	keepLog(s, home)
	return nil
}

// keepLog keeps the requests and answers of the tests; the tree's files in memory will be gone. They help to understand a
// failure, so it is no error if there are none.
func keepLog(s *system, home string) {
	if text, err := os.ReadFile(s.path(home + "/tempest.log")); err == nil {
		_ = os.WriteFile(filepath.Join(s.results, "requests.log"), text, 0o644)
	}
}

// mountWork gives the run a place to write in the tree.
func (s *system) mountWork() error {
	if err := mountSystem(s.root); err != nil {
		return err
	}
	if err := mount("tmpfs", s.path(workDir), "tmpfs", 0); err != nil {
		return err
	}
	if err := unix.Chmod(s.path(workDir), 0o755); err != nil {
		return err
	}
	// Every daemon needs a place for temporary files.
	return os.Chmod(s.path("/tmp"), 0o1777|os.ModeSticky)
}
