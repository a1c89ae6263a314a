package subnetpool

import (
	"net/netip"
	"sync"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"

	"github.com/google/go-cmp/cmp"
)

func TestSubnetsFromPools(t *testing.T) {
	e := setUp(t)
	p4 := e.pool(body{"prefixes": list("10.0.0.0/22"), "default_prefixlen": num(24), "min_prefixlen": num(23), "max_prefixlen": num(28)}).ID
	p6 := e.pool(body{"prefixes": list("fd00::/48")}).ID
	n := e.network()
	type result struct {
		CIDR, Gateway string
		Pool          model.Pool
	}
	for _, c := range []struct {
		name  string
		attrs body
		want  result
		err   string
	}{
		{"default length", body{"subnetpool_id": p4}, result{"10.0.0.0/24", "10.0.0.1", model.Pool{Start: "10.0.0.2", End: "10.0.0.254"}}, ""},
		{"length", body{"subnetpool_id": p4, "prefixlen": num(26)},
			result{"10.0.1.0/26", "10.0.1.1", model.Pool{Start: "10.0.1.2", End: "10.0.1.62"}}, ""},
		{"smallest gap", body{"subnetpool_id": p4, "prefixlen": num(25)},
			result{"10.0.1.128/25", "10.0.1.129", model.Pool{Start: "10.0.1.130", End: "10.0.1.254"}}, ""},
		{"without gateway", body{"subnetpool_id": p4, "prefixlen": num(28), "gateway_ip": nil},
			result{"10.0.1.64/28", "", model.Pool{Start: "10.0.1.65", End: "10.0.1.78"}}, ""},
		{"around the gateway", body{"subnetpool_id": p4, "prefixlen": num(28), "gateway_ip": "10.0.1.83"},
			result{"10.0.1.80/28", "10.0.1.83", model.Pool{Start: "10.0.1.81", End: "10.0.1.82"}}, ""},
		{"prefix", body{"subnetpool_id": p4, "cidr": "10.0.2.0/24"}, result{"10.0.2.0/24", "10.0.2.1", model.Pool{Start: "10.0.2.2", End: "10.0.2.254"}}, ""},
		{"IPv6", body{"subnetpool_id": p6, "ip_version": num(6)},
			result{"fd00::/64", "fd00::1", model.Pool{Start: "fd00::2", End: "fd00::ffff:ffff:ffff:ffff"}}, ""},
		{"prefix that is taken", body{"subnetpool_id": p4, "cidr": "10.0.2.0/25"}, result{},
			"500 SubnetAllocationError: Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes."},
		{"no room", body{"subnetpool_id": p4, "prefixlen": num(23)}, result{},
			"500 SubnetAllocationError: Failed to allocate subnet: Insufficient prefix space to allocate subnet size /23."},
		{"too long", body{"subnetpool_id": p4, "prefixlen": num(29)}, result{},
			"400 MaxPrefixSubnetAllocationError: Unable to allocate subnet with prefix length 29, maximum allowed prefix is 28."},
		{"too short", body{"subnetpool_id": p4, "prefixlen": num(22)}, result{},
			"400 MinPrefixSubnetAllocationError: Unable to allocate subnet with prefix length 22, minimum allowed prefix is 23."},
		{"longer than an address", body{"subnetpool_id": p4, "prefixlen": num(33)}, result{}, "400 AddrFormatError: invalid IPNetwork 0.0.0.0/33"},
		{"gateway is the network address", body{"subnetpool_id": p4, "gateway_ip": "10.0.3.0"}, result{},
			"409 IpamValueInvalid: Gateway IP 10.0.3.0 cannot be the network or broadcast IP address 10.0.3.0/24"},
		{"other version", body{"subnetpool_id": p6}, result{}, "400 BadRequest: Bad subnets request: Cannot allocate IPv4 subnet from IPv6 subnet pool."},
		{"prefix and length", body{"subnetpool_id": p4, "cidr": "10.0.3.0/24", "prefixlen": num(24)}, result{},
			"400 BadRequest: Bad subnets request: cidr and prefixlen must not be supplied together."},
		{"allocation pools", body{"subnetpool_id": p4, "allocation_pools": []any{body{"start": "10.0.3.2", "end": "10.0.3.3"}}}, result{},
			"400 BadRequest: Bad subnets request: allocation_pools allowed only for specific subnet requests.."},
		{"no default pool", body{"use_default_subnetpool": true}, result{}, "400 BadRequest: Bad subnets request: No default subnetpool found for IPv4."},
		{"default and other pool", body{"use_default_subnetpool": true, "subnetpool_id": p4}, result{},
			"400 BadRequest: Bad subnets request: subnetpool_id and use_default_subnetpool cannot both be specified."},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := e.trySubnet(member, n, c.attrs)
			resourcetest.Wants(t, err, c.err)
			if err != nil {
				return
			}
			got := result{CIDR: s.CIDR, Pool: s.AllocationPools[0]}
			if s.GatewayIP != nil {
				got.Gateway = *s.GatewayIP
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDefaultPool(t *testing.T) {
	e := setUp(t)
	p, err := e.tryPool(admin, body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24), "is_default": true, "shared": true})
	e.ok(err)
	if s := e.subnet(e.network(), body{"use_default_subnetpool": true}); s.SubnetpoolID == nil || *s.SubnetpoolID != p.ID {
		t.Errorf("the subnet is from pool %v", s.SubnetpoolID)
	}
}

func TestQuotaOfPools(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(26), "default_quota": num(128)}).ID
	n := e.network()
	e.subnet(n, body{"subnetpool_id": p})
	e.subnet(n, body{"subnetpool_id": p})
	_, err := e.trySubnet(member, n, body{"subnetpool_id": p, "prefixlen": num(32)})
	resourcetest.Wants(t, err, "409 SubnetPoolQuotaExceeded: Per-project subnet pool prefix quota exceeded.")
}

func TestPrefixDelegation(t *testing.T) {
	e := setUp(t)
	n := e.network()
	attrs := body{"subnetpool_id": model.PrefixDelegation, "ip_version": num(6), "ipv6_ra_mode": "slaac"}
	_, err := e.trySubnet(member, n, attrs)
	resourcetest.Wants(t, err, "400 BadRequest: Bad subnets request: IPv6 Address Mode must be SLAAC or Stateless for Prefix Delegation..")
	attrs["ipv6_address_mode"] = "slaac"
	for range 2 { // provisional prefixes do not overlap
		if s := e.subnet(n, attrs); s.CIDR != "::/64" || *s.GatewayIP != "::" {
			t.Errorf("prefix %s, gateway %s", s.CIDR, *s.GatewayIP)
		}
	}
}

// However many ask at the same time, no prefix is given out twice.
func TestParallelAllocation(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24)}).ID
	networks := []string{e.network(), e.network(), e.network(), e.network()}
	var mu sync.Mutex
	var got []netip.Prefix
	var wg sync.WaitGroup
	for _, n := range networks {
		wg.Go(func() {
			for range 4 {
				s, err := e.trySubnet(member, n, body{"subnetpool_id": p})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, netip.MustParsePrefix(s.CIDR))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i, a := range got {
		for _, b := range got[:i] {
			if a.Overlaps(b) {
				t.Errorf("%s and %s overlap", a, b)
			}
		}
	}
	if len(got) != 16 {
		t.Errorf("%d subnets", len(got))
	}
}
