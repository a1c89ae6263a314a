// Package metering is the service plug-in of that name: labels under which traffic of routers is counted, and rules that
// say which traffic. Counting is the metering agent's matter.
package metering

import (
	"net/http"
	"net/netip"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// Service is the metering plug-in.
type Service struct {
	catalog *model.Catalog
	// Notifier tells metering agents what changed; nil for nobody.
	Notifier Notifier
}

// New makes the plug-in.
func New(catalog *model.Catalog) *Service { return &Service{catalog: catalog} }

// Labels is what labels do beyond storing their attributes: agents are told.
func (s *Service) Labels() resource.Logic[model.MeteringLabel] {
	return resource.Logic[model.MeteringLabel]{Create: s.createLabel, Update: unchangeable[model.MeteringLabel], Delete: s.deleteLabel}
}

// Rules is what rules do beyond storing their attributes.
func (s *Service) Rules() resource.Logic[model.MeteringLabelRule] {
	return resource.Logic[model.MeteringLabelRule]{Create: s.createRule, Update: unchangeable[model.MeteringLabelRule], Delete: s.deleteRule}
}

// unchangeable refuses to change what nobody can change, even if nothing is to be changed.
func unchangeable[R any](*resource.Change[R]) error {
	return fault.New(http.StatusNotImplemented, "NotImplementedError", "")
}

func (s *Service) createRule(c *resource.Change[model.MeteringLabelRule]) error {
	r, asked := c.New, c.New.RemotePrefix
	if err := normalise(r); err != nil {
		return err
	}
	if asked != nil {
		if err := s.checkOverlap(c.Tx, r, *asked); err != nil {
			return err
		}
	}
	labels := s.catalog.MeteringLabels
	if _, err := labels.Get(c.Tx, c.Caller, r.LabelID, labels.Bit("id")); err != nil {
		return err
	}
	err := s.catalog.MeteringLabelRules.Insert(c.Tx, r)
	if store.IsForeignKey(err) {
		return store.Retry(err) // the label was deleted meanwhile
	}
	if err != nil {
		return err
	}
	return s.ruleChanged(c.Tx, rpc.AddMeteringLabelRule, r)
}

func (s *Service) deleteRule(c *resource.Change[model.MeteringLabelRule]) error {
	if err := s.catalog.MeteringLabelRules.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	return s.ruleChanged(c.Tx, rpc.RemoveMeteringLabelRule, c.Old)
}

// invalid is upstream's error for bad prefixes, to which it gives no status of the caller's.
func invalid(format string, args ...any) error {
	return fault.New(http.StatusInternalServerError, "Invalid", format, args...)
}

// normalise checks the prefixes of a rule and writes them as upstream stores them: an address becomes a prefix of its
// own, bits of the host stay.
func normalise(r *model.MeteringLabelRule) error {
	for _, p := range []struct {
		name  string
		value **string
	}{
		{"remote_ip_prefix", &r.RemotePrefix}, {"source_ip_prefix", &r.SourcePrefix}, {"destination_ip_prefix", &r.DestPrefix},
	} {
		if *p.value == nil {
			continue
		}
		text := **p.value
		prefix, ok := parsePrefix(text)
		if !ok {
			return invalid("%s: %s is invalid [%s does not appear to be an IPv4 or IPv6 interface].", p.name, text, resource.PyRepr(text))
		}
		text = prefix.String()
		*p.value = &text
	}
	switch {
	case r.RemotePrefix != nil && (r.SourcePrefix != nil || r.DestPrefix != nil):
		return invalid("Cannot use 'remote-ip-prefix' in conjunction with 'source-ip-prefix' or 'destination-ip-prefix'.")
	case r.RemotePrefix == nil && r.SourcePrefix == nil && r.DestPrefix == nil:
		return invalid("You must define at least one of the following parameters 'remote_ip_prefix', or 'source_ip_prefix' or " +
			"'destination_ip_prefix'.")
	}
	return nil
}

func parsePrefix(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// checkOverlap refuses a remote prefix, written as asked, that shares addresses with one of the same label and kind.
func (s *Service) checkOverlap(tx *store.Tx, r *model.MeteringLabelRule, asked string) error {
	rules := s.catalog.MeteringLabelRules
	others, err := rules.Select(tx, &resource.Query{Set: rules.Bit("remote_ip_prefix"), Where: []resource.Cond{{
		SQL:  "t.metering_label_id = ? AND t.direction = ? AND t.excluded = ? AND t.remote_ip_prefix IS NOT NULL",
		Args: []any{r.LabelID, r.Direction, r.Excluded}}}})
	if err != nil {
		return err
	}
	wanted, _ := parsePrefix(*r.RemotePrefix)
	for _, o := range others {
		if p, ok := parsePrefix(*o.RemotePrefix); ok && p.Masked().Overlaps(wanted.Masked()) {
			return fault.Conflict("MeteringLabelRuleOverlaps", "Metering label rule with remote_ip_prefix '%s' overlaps another.", asked)
		}
	}
	return nil
}
