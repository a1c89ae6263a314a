package segmentrange

import (
	"context"
	"log/slog"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestRanges(t *testing.T) {
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	core := ml2.New(ml2.Config{StoredRanges: true, TypeDrivers: []string{"vlan", "vxlan"}, TenantNetworkTypes: []string{"vxlan"}}, db, catalog, log)
	if err := core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	logic, ranges := New(catalog, core).Logic(), catalog.NetworkSegmentRanges
	change := func(f func(*resource.Change[model.NetworkSegmentRange]) error, old, now *model.NetworkSegmentRange, named ...string) error {
		return db.Write(ctx, func(tx *store.Tx) error {
			return f(&resource.Change[model.NetworkSegmentRange]{Resource: ranges, Tx: tx, Caller: identity.System(), Old: old, New: now,
				Named: ranges.Bits(named...)})
		})
	}
	vxlan := func(low, high int) *model.NetworkSegmentRange {
		return &model.NetworkSegmentRange{Standard: model.Standard{ID: uuid.NewString()}, Shared: true, NetworkType: "vxlan", Minimum: low, Maximum: high}
	}
	private, vlan, gre := vxlan(50, 60), vxlan(1, 9), vxlan(1, 9)
	private.Shared, vlan.NetworkType, gre.NetworkType = false, "vlan", "gre"
	r := vxlan(10, 13)
	for _, test := range []struct {
		name  string
		r     *model.NetworkSegmentRange
		class string
	}{
		{"good", r, ""},
		{"overlap", vxlan(13, 20), "NetworkSegmentRangeOverlaps"},
		{"upside down", vxlan(30, 20), "NetworkTunnelRangeError"},
		{"no such VNI", vxlan(30, 1<<24), "NetworkTunnelRangeError"},
		{"no project", private, "ObjectActionError"},
		{"VLANs without physical network", vlan, "BadRequest"},
		{"no driver", gre, "NetworkSegmentRangeNetTypeNotSupported"},
	} {
		if err := change(logic.Create, nil, test.r); test.class == "" && err != nil || test.class != "" && !fault.Is(err, test.class) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	n := &model.Network{Standard: model.Standard{ID: uuid.NewString(), ProjectID: "p"}}
	err := db.Write(ctx, func(tx *store.Tx) error {
		return core.Networks().Create(&resource.Change[model.Network]{Resource: catalog.Networks, Tx: tx, Caller: identity.System(), New: n})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Read(ctx, func(tx *store.Tx) error { return logic.Load(tx, nil, ranges.All, []*model.NetworkSegmentRange{r}) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{11, 12, 13}, r.Available) + cmp.Diff(model.UsedIDs{10: "p"}, r.Used); diff != "" {
		t.Errorf("free and used ids (-want +got):\n%s", diff)
	}
	now := *r
	now.Minimum = 11
	if err := change(logic.Update, r, &now, "minimum"); !fault.Is(err, "NetworkSegmentRangeReferencedByProject") {
		t.Errorf("a range lost an id in use: %v", err)
	}
	now.Minimum, now.Maximum = 10, 12
	if err := change(logic.Update, r, &now, "maximum"); err != nil {
		t.Errorf("a range of which the lowest id is in use: %v", err)
	}
	r.Maximum = 12
	if err := change(logic.Delete, r, nil); !fault.Is(err, "NetworkSegmentRangeReferencedByProject") {
		t.Errorf("a range in use was deleted: %v", err)
	}
	if err := change(logic.Delete, &model.NetworkSegmentRange{Default: true}, nil); !fault.Is(err, "NetworkSegmentRangeDefaultReadOnly") {
		t.Errorf("a default range was deleted: %v", err)
	}
	private.Project = new("q")
	if err := change(logic.Create, nil, private); err != nil {
		t.Fatal(err)
	}
	for project, class := range map[string]string{"q": "", "p": "NetworkSegmentRangeNotFound"} {
		err := db.Read(ctx, func(tx *store.Tx) error {
			_, err := ranges.Get(tx, &identity.Caller{ProjectID: project}, private.ID, ranges.All)
			return err
		})
		if class == "" && err != nil || class != "" && !fault.Is(err, class) {
			t.Errorf("range of q as seen by %s: %v", project, err)
		}
	}
}
