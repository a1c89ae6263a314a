package metering

import (
	"context"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
)

func TestRules(t *testing.T) {
	ctx := context.Background()
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	s := New(catalog)
	label := &model.MeteringLabel{Standard: model.Standard{ID: uuid.NewString(), ProjectID: "p"}}
	if err := db.Write(ctx, func(tx *store.Tx) error { return catalog.MeteringLabels.Insert(tx, label) }); err != nil {
		t.Fatal(err)
	}
	p := func(s string) *string { return &s }
	for _, test := range []struct {
		name   string
		rule   model.MeteringLabelRule
		caller string
		class  string // of the error, "" = accepted
		stored string // remote prefix
	}{
		{"address", model.MeteringLabelRule{RemotePrefix: p("10.0.0.1"), Direction: "ingress"}, "p", "", "10.0.0.1/32"},
		{"bits of the host stay", model.MeteringLabelRule{RemotePrefix: p("10.1.0.5/24"), Direction: "ingress"}, "p", "", "10.1.0.5/24"},
		{"overlap", model.MeteringLabelRule{RemotePrefix: p("10.1.0.77"), Direction: "ingress"}, "p", "MeteringLabelRuleOverlaps", ""},
		{"other direction", model.MeteringLabelRule{RemotePrefix: p("10.1.0.77"), Direction: "egress"}, "p", "", "10.1.0.77/32"},
		{"excluded", model.MeteringLabelRule{RemotePrefix: p("10.1.0.77"), Direction: "ingress", Excluded: true}, "p", "", "10.1.0.77/32"},
		{"no prefix", model.MeteringLabelRule{Direction: "ingress"}, "p", "Invalid", ""},
		{"remote and source", model.MeteringLabelRule{RemotePrefix: p("10.9.0.0/24"), SourcePrefix: p("1.1.1.1"), Direction: "ingress"}, "p", "Invalid", ""},
		{"no address", model.MeteringLabelRule{SourcePrefix: p("x"), Direction: "ingress"}, "p", "Invalid", ""},
		{"label of another project", model.MeteringLabelRule{SourcePrefix: p("1.1.1.1"), Direction: "ingress"}, "q", "MeteringLabelNotFound", ""},
	} {
		r := test.rule
		r.ID, r.LabelID = uuid.NewString(), label.ID
		err := db.Write(ctx, func(tx *store.Tx) error {
			return s.Rules().Create(&resource.Change[model.MeteringLabelRule]{Resource: catalog.MeteringLabelRules, Tx: tx,
				Caller: &identity.Caller{ProjectID: test.caller}, New: &r})
		})
		switch {
		case test.class == "" && err != nil, test.class != "" && !fault.Is(err, test.class):
			t.Errorf("%s: %v", test.name, err)
		case test.stored != "" && *r.RemotePrefix != test.stored:
			t.Errorf("%s: stored as %s", test.name, *r.RemotePrefix)
		}
	}
	if err := s.Labels().Update(&resource.Change[model.MeteringLabel]{Old: label, New: label}); !fault.Is(err, "NotImplementedError") {
		t.Errorf("change of a label: %v", err)
	}
}
