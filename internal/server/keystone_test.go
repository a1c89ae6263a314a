package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/keystone/keystonetest"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"golang.org/x/crypto/bcrypt"
)

// withKeystone is the configuration for a fake Keystone.
func withKeystone(fake *keystonetest.Fake) string {
	auth := "auth_type = password\nauth_url = " + fake.URL + "\nusername = " + keystonetest.User + "\npassword = " + keystonetest.Password +
		"\nuser_domain_name = Default\nproject_domain_name = Default\nproject_name = service\nregion_name = RegionOne\n"
	return "[DEFAULT]\nauth_strategy = keystone\nsend_events_interval = 1\n[keystone_authtoken]\nwww_authenticate_uri = http://keystone/\n" + auth +
		"[nova]\nendpoint_type = internal\n" + auth
}

// networking is gophercloud's client, as a program of a user has it.
func networking(e *env) *gophercloud.ServiceClient {
	provider := &gophercloud.ProviderClient{TokenID: e.token}
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: e.url + "/", ResourceBase: e.url + "/", Type: "network"}
}

func TestKeystone(t *testing.T) {
	fake := keystonetest.New(t)
	hour := time.Now().Add(time.Hour)
	fake.Tokens = map[string]keystonetest.Token{"admin": keystonetest.ProjectToken("admin", hour, "admin", "manager", "member", "reader"),
		"reader": keystonetest.ProjectToken("admin", hour, "reader")}
	e := start(t, withKeystone(fake))
	defer e.end()
	defer func() { e.token = "admin" }() // for the last request
	for _, c := range []struct {
		path, token string
		body        any // makes it a POST
		want        int
	}{
		{"/networks", "", nil, 401},
		{"/networks", "mallory", nil, 401},
		{"/", "", nil, 401},
		{"/nonsense", "", nil, 401},
		{"/nonsense", "reader", nil, 404},
		{"/networks", "reader", nil, 200},
		{"/networks", "reader", map[string]any{"network": map[string]any{}}, 403},
		{"/networks", "admin", map[string]any{"network": map[string]any{}}, 201},
	} {
		e.token = c.token
		method := "GET"
		if c.body != nil {
			method = "POST"
		}
		status, body := e.do(method, c.path, c.body)
		if status != c.want {
			t.Errorf("%+v: %d %v", c, status, body)
		}
		if refused, _ := body["error"].(map[string]any); status == 401 && refused["message"] != "The request you have made requires authentication." {
			t.Errorf("%+v: %v", c, body)
		}
	}
	open := strings.TrimSuffix(e.url, "/v2.0")
	for path, want := range map[string]int{"/": 200, "/healthcheck": 200, "/v2.0": 401} {
		resp, err := http.Get(open + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != want || want == 401 && got != `Keystone uri="http://keystone/"` {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
}

// A program that uses gophercloud goes from a network to a floating IP and back. Nova hears of the server's port.
func TestGophercloud(t *testing.T) {
	type event struct{ Name, Tag, Status string }
	told := make(chan event, 100)
	nova := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Events []event }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		for _, x := range body.Events {
			told <- x
		}
		w.Write([]byte(`{"events": []}`))
	}))
	defer nova.Close()
	fake := keystonetest.New(t)
	fake.Endpoints["compute"] = nova.URL
	fake.Tokens["admin"] = keystonetest.ProjectToken("admin", time.Now().Add(time.Hour), "admin", "manager", "member", "reader")
	e := start(t, withKeystone(fake), "[oslo_messaging_notifications]\ndriver = messagingv2")
	defer e.end()
	e.token = "admin"
	published := make(chan string, 100)
	stop, err := e.bus.Serve("notifications.info", "meter", func(_ context.Context, m *bus.Message) (any, error) {
		var n struct {
			EventType string `json:"event_type"`
		}
		err := json.Unmarshal(m.Args, &n)
		published <- n.EventType
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	client, ctx := networking(e), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	network, err := networks.Create(ctx, client, networks.CreateOpts{Name: "inside"}).Extract()
	must(err)
	subnet, err := subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: network.ID, CIDR: "10.0.0.0/24", IPVersion: 4}).Extract()
	must(err)
	_, body := e.do("POST", "/networks", map[string]any{"network": map[string]any{"name": "outside", "router:external": true}})
	outside := body["network"].(map[string]any)["id"].(string)
	_, err = subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: outside, CIDR: "203.0.113.0/24", IPVersion: 4}).Extract()
	must(err)
	group, err := groups.Create(ctx, client, groups.CreateOpts{Name: "web"}).Extract()
	must(err)
	router, err := routers.Create(ctx, client, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: outside}}).Extract()
	must(err)
	_, err = routers.AddInterface(ctx, client, router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Extract()
	must(err)
	port, err := ports.Create(ctx, client, ports.CreateOpts{NetworkID: network.ID, DeviceID: "11111111-1111-4111-8111-111111111111",
		DeviceOwner: "compute:nova", SecurityGroups: &[]string{group.ID}}).Extract()
	must(err)
	address, err := floatingips.Create(ctx, client, floatingips.CreateOpts{FloatingNetworkID: outside, PortID: port.ID}).Extract()
	must(err)
	if address.FixedIP != port.FixedIPs[0].IPAddress || address.RouterID != router.ID {
		t.Errorf("%+v", address)
	}
	page, err := ports.List(client, ports.ListOpts{DeviceOwner: "compute:nova"}).AllPages(ctx)
	must(err)
	if list, err := ports.ExtractPorts(page); err != nil || len(list) != 1 || list[0].ID != port.ID {
		t.Errorf("%v %v", list, err)
	}
	must(floatingips.Delete(ctx, client, address.ID).ExtractErr())
	must(ports.Delete(ctx, client, port.ID).ExtractErr())
	_, err = ports.Get(ctx, client, port.ID).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("%v", err)
	}

	// The first event may have come too late to find the port; that of its end is sure.
	for last := (event{}); last.Name != "network-vif-deleted"; {
		select {
		case last = <-told:
			if last.Tag != port.ID {
				t.Errorf("%+v", last)
			}
		case <-time.After(time.Minute):
			t.Fatal("Nova never heard of the port's end")
		}
	}
	missing := map[string]bool{}
	for _, resource := range []string{"network", "subnet", "port", "router", "floatingip", "security_group"} {
		missing[resource+".create.start"], missing[resource+".create.end"] = true, true
	}
	missing["floatingip.delete.start"], missing["floatingip.delete.end"], missing["port.delete.end"] = true, true, true
	for len(missing) > 0 {
		select {
		case x := <-published:
			delete(missing, x)
		case <-time.After(time.Minute):
			t.Fatalf("not published: %v", missing)
		}
	}
}

func TestHTTPBasic(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, []byte("ada:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, "[DEFAULT]\nauth_strategy = http_basic\n[oslo_middleware]\nhttp_basic_auth_user_file = "+users)
	if status, body := e.do("GET", "/networks", nil); status != 401 {
		t.Errorf("%d %v", status, body)
	}
	e.url = strings.Replace(e.url, "http://", "http://ada:secret@", 1)
	defer e.end()
	e.post("/networks", "network", map[string]any{"name": "n"})
}
