package subnetpool

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// AddPrefixes adds prefixes to a pool (extension subnetpool-prefix-ops). It returns what the API answers.
func (s *Service) AddPrefixes(tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
	more, err := requestedPrefixes(body)
	if err != nil {
		return nil, err
	}
	c, err := s.changeOf(tx, caller, id)
	if err != nil {
		return nil, err
	}
	c.New.Prefixes = slices.Concat(c.Old.Prefixes, more.strings())
	if err := s.update(c); err != nil {
		return nil, err
	}
	return map[string]any{"prefixes": c.New.Prefixes}, nil
}

// RemovePrefixes takes prefixes away that no subnet has (extension subnetpool-prefix-ops). It returns what the API
// answers.
func (s *Service) RemovePrefixes(tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
	gone, err := requestedPrefixes(body)
	if err != nil {
		return nil, err
	}
	c, err := s.changeOf(tx, caller, id)
	if err != nil {
		return nil, err
	}
	has, err := parse(c.Old.Prefixes)
	if err != nil || !has.overlaps(gone) {
		return map[string]any{"prefixes": append([]string{}, c.Old.Prefixes...)}, err
	}
	if err := s.lock(tx, id); err != nil {
		return nil, err
	}
	used, err := allocated(tx, id)
	if err != nil {
		return nil, err
	}
	if used.overlaps(gone) {
		return nil, fault.BadRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: One or more the prefixes to be removed is "+
			"in use by a subnet..")
	}
	c.New.Prefixes = has.minus(gone).strings()
	_, err = s.catalog.Subnetpools.Save(tx, c.Old, c.New)
	return map[string]any{"prefixes": c.New.Prefixes}, err
}

// requestedPrefixes reads the body of a prefix operation.
func requestedPrefixes(body map[string]any) (prefixSet, error) {
	list, ok := body["prefixes"].([]any)
	if !ok || len(list) == 0 {
		return nil, fault.BadRequest("HTTPBadRequest", "Request body contains invalid data")
	}
	prefixes := make([]netip.Prefix, len(list))
	for i, v := range list {
		var err error
		if prefixes[i], err = parseLoose(v); err != nil {
			return nil, err
		}
	}
	return newSet(prefixes), nil
}

// parseLoose reads a prefix or an address, which is a prefix of full length. Python takes numbers and truth values for addresses.
func parseLoose(v any) (netip.Prefix, error) {
	switch v := v.(type) {
	case bool:
		return host(map[bool]int64{true: 1}[v]), nil
	case json.Number:
		if n, err := v.Int64(); err == nil && n < 0 {
			return netip.Prefix{}, fault.BadRequest("AddrFormatError", "failed to detect a valid IP address from %d", n)
		} else if err == nil {
			return host(n), nil
		}
	case string:
		if a, err := netip.ParseAddr(v); err == nil {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		if text, err := model.ParseNetwork(v); err == nil {
			return netip.ParsePrefix(text)
		}
	}
	return netip.Prefix{}, fault.BadRequest("AddrFormatError", "invalid IPNetwork %s", resource.Py(v))
}

// host is the prefix of the address that a number is: of IPv6 if it is too large for IPv4.
func host(n int64) netip.Prefix {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[8:], uint64(n))
	if n <= math.MaxUint32 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(raw[12:])), 32)
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), 128)
}

// changeOf prepares the change of the prefixes of a pool.
func (s *Service) changeOf(tx *store.Tx, caller *identity.Caller, id string) (*resource.Change[model.Subnetpool], error) {
	pools := s.catalog.Subnetpools
	old, err := pools.Get(tx, caller, id, pools.All)
	if err != nil {
		return nil, err
	}
	now := *old
	return &resource.Change[model.Subnetpool]{Resource: pools, Tx: tx, Caller: caller, Old: old, New: &now, Named: pools.Bit("prefixes")}, nil
}

// Onboard takes the subnets of a network, and their prefixes, into a pool (extension subnet_onboard). It returns what
// the API answers.
func (s *Service) Onboard(tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
	c, err := s.changeOf(tx, caller, id)
	if err != nil {
		return nil, err
	}
	subnets, err := s.toOnboard(c, body)
	if err != nil {
		return nil, err
	}
	if err := s.lock(tx, id); err != nil {
		return nil, err
	}
	used, err := allocated(tx, id)
	if err != nil {
		return nil, err
	}
	for _, n := range subnets {
		prefix, err := parse([]string{n.CIDR})
		if err != nil {
			return nil, err
		}
		if used.overlaps(prefix) {
			return nil, illegalUpdate("Onboarding subnet %s: %s conflicts with allocated prefixes in subnet pool %s", n.ID, n.CIDR, id)
		}
		c.New.Prefixes = append(slices.Clip(c.New.Prefixes), n.CIDR)
	}
	if err := s.update(c); err != nil {
		return nil, err
	}
	if err := s.take(tx, id, subnets); err != nil {
		return nil, err
	}
	if c.New.AddressScopeID != nil {
		if err := s.scopeChanged(tx, id); err != nil {
			return nil, err
		}
	}
	answer := []map[string]string{}
	for _, n := range subnets {
		answer = append(answer, map[string]string{"id": n.ID, "cidr": n.CIDR})
	}
	return answer, nil
}

// toOnboard reads the subnets of the network that a request names, which must be the caller's own.
func (s *Service) toOnboard(c *resource.Change[model.Subnetpool], body map[string]any) ([]*model.Subnet, error) {
	if body["network_id"] == nil {
		return nil, fault.InvalidInput("network_id must be specified.")
	}
	id := body["network_id"]
	if list, ok := id.([]any); ok && len(list) == 1 { // upstream asks its database for any of a list
		id = list[0]
	}
	networks, subnets := s.catalog.Networks, s.catalog.Subnets
	n, err := networks.Get(c.Tx, c.Caller, resource.Py(id), networks.Bit("project_id"))
	if err != nil && fault.As(err).Status == http.StatusNotFound {
		return nil, networks.NotFound(resource.Py(body["network_id"]))
	}
	if err != nil {
		return nil, err
	}
	if !c.Caller.IsAdmin && n.ProjectID != c.Caller.ProjectID {
		return nil, fault.Forbidden("NotAuthorized", "Not authorized.")
	}
	return subnets.Select(c.Tx, &resource.Query{Caller: c.Caller, Set: subnets.All,
		Where: []resource.Cond{{SQL: "t.network_id = ? AND t.ip_version = ?", Args: []any{n.ID, c.Old.IPVersion}}}})
}

// take makes subnets of one network part of a pool.
func (s *Service) take(tx *store.Tx, pool string, subnets []*model.Subnet) error {
	if len(subnets) == 0 {
		return nil
	}
	ids := make([]string, len(subnets))
	for i, n := range subnets {
		ids[i] = n.ID
	}
	in := resource.In("id", ids)
	_, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE id IN "+
		"(SELECT standard_attr_id FROM subnets WHERE "+in.SQL+")", append([]any{store.Now()}, in.Args...)...)
	if err == nil {
		_, err = tx.Exec("UPDATE subnets SET subnetpool_id = ? WHERE "+in.SQL, append([]any{pool}, in.Args...)...)
	}
	if err != nil {
		return fmt.Errorf("onboard subnets to pool %s: %w", pool, err)
	}
	networks := s.catalog.Networks
	n, err := networks.Get(tx, identity.System(), subnets[0].NetworkID, networks.All)
	if err != nil {
		return err
	}
	return networks.Touch(tx, n)
}
