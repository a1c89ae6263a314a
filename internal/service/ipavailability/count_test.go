package ipavailability

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

var (
	ctx   = context.Background()
	admin = &identity.Caller{ProjectID: "p", IsAdmin: true}
)

type env struct {
	*testing.T
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
}

func setUp(t *testing.T) *env {
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	core := ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan"}, VNIRanges: []ml2.Range{{Min: 1, Max: 100}}}, db, catalog, log)
	if err := core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return &env{t, db, catalog, core}
}

func create[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], attrs map[string]any) *R {
	e.Helper()
	obj, err := resourcetest.Create(e.db, r, logic, admin, attrs)
	if err != nil {
		e.Fatal(err)
	}
	return obj
}

// read does what the API does with a list request, and tells how many queries it took.
func (e *env) read(query url.Values) (text string, queries int64) {
	e.Helper()
	r, logic := e.catalog.IPAvailabilities, Logic(e.catalog)
	before := e.db.Statements()
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		q, err := r.ParseQuery(query, 0, false)
		if err != nil {
			return err
		}
		q.Set, q.Sort = r.All, []resource.SortKey{{Attr: 1}}
		list, err := r.Select(tx, q)
		if err != nil {
			return err
		}
		if err := logic.Load(tx, admin, r.Shown, list); err != nil {
			return err
		}
		logic.AfterList(query, list)
		for _, n := range list {
			text += string(r.Append(nil, n, r.Bits("network_name", "total_ips", "used_ips", "ip_availability_details")))
			for _, s := range n.Subnets {
				raw, err := json.Marshal([]any{s.CIDR, s.Total, s.Used, s.Details.TotalInSubnet, s.Details.TotalInPools, s.Details.UsedInSubnet, s.Details.UsedInPools})
				if err != nil {
					return err
				}
				text += "\n" + string(raw)
			}
		}
		return nil
	})
	if err != nil {
		e.Fatal(err)
	}
	return text, e.db.Statements() - before
}

func TestCount(t *testing.T) {
	e := setUp(t)
	n := create(e, e.catalog.Networks, e.core.Networks(), map[string]any{"name": "n"})
	subnet := func(version int, cidr string, more map[string]any) {
		attrs := map[string]any{"network_id": n.ID, "ip_version": json.Number(fmt.Sprint(version)), "cidr": cidr}
		for k, v := range more {
			attrs[k] = v
		}
		create(e, e.catalog.Subnets, e.core.Subnets(), attrs)
	}
	subnet(4, "10.0.0.0/24", map[string]any{"allocation_pools": []any{
		map[string]any{"start": "10.0.0.10", "end": "10.0.0.11"}, map[string]any{"start": "10.0.0.20", "end": "10.0.0.29"}}})
	subnet(4, "10.0.1.0/31", map[string]any{"enable_dhcp": false, "gateway_ip": nil})
	subnet(6, "fd00::/64", nil)
	for _, ip := range []string{"10.0.0.11", "10.0.0.99", "fd00::9"} {
		create(e, e.catalog.Ports, e.core.Ports(), map[string]any{"network_id": n.ID, "fixed_ips": []any{map[string]any{"ip_address": ip}}})
	}
	for _, c := range []struct{ name, query, want string }{
		{"all", "", `{"network_name":"n","total_ips":18446744073709551629,"used_ips":3,"ip_availability_details":` +
			`{"total_ips_in_subnet":18446744073709551870,"total_ips_in_allocation_pool":18446744073709551629,"used_ips_in_subnet":3,"used_ips_in_allocation_pool":2}}
["10.0.0.0/24",12,2,254,12,2,1]
["10.0.1.0/31",2,0,0,2,0,0]
["fd00::/64",18446744073709551615,1,18446744073709551616,18446744073709551615,1,1]`},
		{"IPv4", "ip_version=4", `{"network_name":"n","total_ips":14,"used_ips":2,"ip_availability_details":` +
			`{"total_ips_in_subnet":254,"total_ips_in_allocation_pool":14,"used_ips_in_subnet":2,"used_ips_in_allocation_pool":1}}
["10.0.0.0/24",12,2,254,12,2,1]
["10.0.1.0/31",2,0,0,2,0,0]`},
		{"name", "network_name=other", ""},
		{"project", "project_id=q", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			query, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			got, queries := e.read(query)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if queries > 4 {
				t.Errorf("%d queries", queries)
			}
		})
	}
}
