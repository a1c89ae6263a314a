package dns

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/linux/veth"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	wire "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(t *testing.T, namespace, device string, list ...string) {
	t.Helper()
	h, err := netns.Handle(namespace)
	must(t, err)
	defer h.Close()
	l, err := h.LinkByName(device)
	must(t, err)
	for _, s := range list {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		must(t, h.AddrAdd(l, a))
	}
}

// network is a namespace of a DHCP port and one of an instance that asks.
func network(t *testing.T) *Server {
	t.Helper()
	sandbox.Need(t)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	for _, ns := range []string{"dhcp", "vm"} {
		_, err := netns.Ensure(ns)
		must(t, err)
		t.Cleanup(func() { _ = netns.Delete(ns) })
	}
	_, err := veth.Ensure(veth.Pair{Outer: "ns-port", Inner: "eth0", Namespace: "vm"})
	must(t, err)
	h, err := netns.Handle("dhcp")
	must(t, err)
	defer h.Close()
	l, err := netlink.LinkByName("ns-port")
	must(t, err)
	fd, err := unix.Open("/run/netns/dhcp", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, netlink.LinkSetNsFd(l, fd))
	must(t, h.LinkSetUp(l))
	addr(t, "dhcp", "ns-port", "10.0.0.2/24", "10.5.0.2/24", "2001:db8::2/64")
	addr(t, "vm", "eth0", "10.0.0.5/24", "10.5.0.5/24", "2001:db8::5/64", "192.0.2.9/32")
	p, err := epoll.New()
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	s := NewServer(p, "dhcp", "ns-port", slog.New(slog.DiscardHandler))
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func names() []Name {
	a := netip.MustParseAddr
	return []Name{{a("10.0.0.5"), "web.example.org.", "web"}, {a("2001:db8::5"), "web.example.org.", "web"}, {a("10.0.0.6"), "host-10-0-0-6.openstacklocal", "host-10-0-0-6"}}
}

func zone(resolvers ...netip.AddrPort) *Zone {
	return &Zone{Names: NewNames(names()...), Resolvers: resolvers, Text: ParseText(`about.example,"one, two",three`),
		Local: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.5.0.0/24"), netip.MustParsePrefix("2001:db8::/64")}}
}

// answer asks again while there is no answer, as a resolver does: datagrams get lost, and this machine may be busy.
func answer(t *testing.T, network, to, name string, kind uint16) string {
	t.Helper()
	for range 9 {
		if got := ask(t, network, "", to, name, kind); got != "no answer" && got != "no connection" {
			return got
		}
	}
	return ask(t, network, "", to, name, kind)
}

// ask sends a question from the instance once; from may be empty.
func ask(t *testing.T, network, from, to, name string, kind uint16) string {
	t.Helper()
	var conn net.Conn
	err := netns.Do("vm", func() (err error) {
		d := net.Dialer{Timeout: time.Second}
		if from != "" {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
		}
		conn, err = d.Dial(network, net.JoinHostPort(to, "53"))
		return err
	})
	if err != nil {
		return "no connection"
	}
	defer conn.Close()
	c := wire.Client{Net: network, Timeout: 700 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	reply, _, err := c.ExchangeWithConnContext(ctx, new(wire.Msg).SetQuestion(name, kind), &wire.Conn{Conn: conn})
	if err != nil {
		return "no answer"
	}
	out := []string{wire.RcodeToString[reply.Rcode]}
	if reply.Truncated {
		out = append(out, "truncated")
	}
	for _, rr := range reply.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(out, " ")
}

func TestNames(t *testing.T) {
	s := network(t)
	must(t, s.Update(zone(), []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("2001:db8::2")}))
	for _, c := range []struct {
		network, to, name string
		kind              uint16
		want              string
	}{
		{"udp", "10.0.0.2", "web.example.org.", wire.TypeA, "NOERROR 10.0.0.5"},
		{"udp", "10.0.0.2", "WEB.", wire.TypeA, "NOERROR 10.0.0.5"},
		{"udp", "10.5.0.2", "web.example.org.", wire.TypeAAAA, "NOERROR 2001:db8::5"},
		{"udp", "2001:db8::2", "web.example.org.", wire.TypeANY, "NOERROR 10.0.0.5 2001:db8::5"},
		{"tcp", "10.0.0.2", "host-10-0-0-6.openstacklocal.", wire.TypeA, "NOERROR 10.0.0.6"},
		{"tcp", "2001:db8::2", "host-10-0-0-6.", wire.TypeA, "NOERROR 10.0.0.6"},
		{"udp", "10.0.0.2", "host-10-0-0-6.", wire.TypeAAAA, "NOERROR"},
		{"udp", "10.0.0.2", "5.0.0.10.in-addr.arpa.", wire.TypePTR, "NOERROR web.example.org."},
		{"udp", "10.0.0.2", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", wire.TypePTR, "NOERROR web.example.org."},
		{"udp", "10.0.0.2", "about.example.", wire.TypeTXT, `NOERROR "one, two" "three"`},
		{"udp", "10.0.0.2", "9.0.0.10.in-addr.arpa.", wire.TypePTR, "REFUSED"},
		{"udp", "10.0.0.2", "elsewhere.example.", wire.TypeA, "REFUSED"},
	} {
		if got := answer(t, c.network, c.to, c.name, c.kind); got != c.want {
			t.Errorf("%s %s %s %s: %s, want %s", c.network, c.to, c.name, wire.TypeToString[c.kind], got, c.want)
		}
	}
	if got := ask(t, "udp", "192.0.2.9", "10.0.0.2", "web.", wire.TypeA); got != "no answer" {
		t.Errorf("a stranger got %s", got)
	}
	must(t, s.Update(zone(), []netip.Addr{netip.MustParseAddr("10.0.0.2")}))
	if got := ask(t, "udp", "", "10.5.0.2", "web.", wire.TypeA); got != "no answer" {
		t.Errorf("an address that was taken away answers %s", got)
	}
}

// What is known after many changes is what the ports say that are left, whatever the order of the news.
func TestNamesChange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	said := map[int][]Name{} // by port
	table := NewNames()
	for range 5000 {
		var now []Name
		for range r.IntN(3) {
			name := fmt.Sprintf("h%d", r.IntN(4))
			full := name + []string{"", ".example", ".example."}[r.IntN(3)]
			now = append(now, Name{netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(5))}), full, name})
		}
		port := r.IntN(6)
		table.Replace(said[port], now)
		said[port] = now
		var all []Name
		for _, list := range said {
			all = append(all, list...)
		}
		want := NewNames(all...)
		if diff := cmp.Diff(want.addrs, table.addrs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("addresses (-want +got):\n%s", diff)
		}
		if !maps.EqualFunc(want.names, table.names, slices.Equal) {
			t.Fatalf("names %v, want %v", table.names, want.names)
		}
	}
	if addrs, known := NewNames(names()...).addrsOf("web."); !known || len(addrs) != 2 {
		t.Errorf("addresses %v", addrs)
	}
}

// resolver is a name server behind the DHCP namespace: it answers with the transport and the name, or not at all.
func resolver(t *testing.T, at string, silent bool) netip.AddrPort {
	t.Helper()
	handler := wire.HandlerFunc(func(w wire.ResponseWriter, req *wire.Msg) {
		if silent {
			return
		}
		m := new(wire.Msg).SetReply(req)
		q := req.Question[0]
		if q.Name == "none.example." {
			m.Rcode = wire.RcodeNameError
		}
		n := 1
		if q.Name == "big.example." {
			n = 200
		}
		for i := range n {
			m.Answer = append(m.Answer, &wire.TXT{Hdr: wire.RR_Header{Name: q.Name, Rrtype: wire.TypeTXT, Class: 1, Ttl: 60}, Txt: []string{fmt.Sprint(w.RemoteAddr().Network(), i)}})
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	for _, network := range []string{"udp", "tcp"} {
		l := &wire.Server{Handler: handler}
		must(t, netns.Do("dhcp", func() (err error) {
			if network == "udp" {
				l.PacketConn, err = net.ListenPacket("udp", at)
			} else {
				l.Listener, err = net.Listen("tcp", at)
			}
			return err
		}))
		started := make(chan struct{})
		l.NotifyStartedFunc = func() { close(started) }
		go l.ActivateAndServe()
		<-started
		t.Cleanup(func() { _ = l.Shutdown() })
	}
	return netip.MustParseAddrPort(at)
}

func TestForward(t *testing.T) {
	s := network(t)
	dead, alive := resolver(t, "127.0.0.1:5301", true), resolver(t, "127.0.0.1:5302", false)
	must(t, s.Update(zone(alive), []netip.Addr{netip.MustParseAddr("10.0.0.2")}))
	for _, c := range []struct {
		network, name string
		want          string
	}{
		{"udp", "a.example.", `NOERROR "udp0"`}, {"tcp", "a.example.", `NOERROR "tcp0"`}, {"udp", "none.example.", `NXDOMAIN "udp0"`},
	} {
		if got := answer(t, c.network, "10.0.0.2", c.name, wire.TypeTXT); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.network, c.name, got, c.want)
		}
	}
	if got := answer(t, "udp", "10.0.0.2", "big.example.", wire.TypeTXT); !strings.HasPrefix(got, "NOERROR truncated") {
		t.Errorf("a large answer by UDP: %s", got)
	}
	if got := answer(t, "tcp", "10.0.0.2", "big.example.", wire.TypeTXT); strings.Count(got, "tcp") != 200 {
		t.Errorf("a large answer by TCP: %.80s", got)
	}
	// With the first resolver dead the second is asked; the client has to have the patience.
	must(t, s.Update(zone(dead, alive), []netip.Addr{netip.MustParseAddr("10.0.0.2")}))
	began := time.Now()
	for ask(t, "udp", "", "10.0.0.2", "a.example.", wire.TypeTXT) != `NOERROR "udp0"` {
		if time.Since(began) > time.Minute {
			t.Fatal("the second resolver is not asked")
		}
	}
}

func TestReverseNames(t *testing.T) {
	for _, s := range []string{"10.0.0.5", "2001:db8::5", "fe80::1234:5678"} {
		name, err := wire.ReverseAddr(s)
		must(t, err)
		if got := addrOfReverse(name); got != netip.MustParseAddr(s) {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, s := range []string{"", "in-addr.arpa.", "1.2.in-addr.arpa.", "x.1.2.3.in-addr.arpa.", "ip6.arpa.", strings.Repeat("zz.", 32) + "ip6.arpa."} {
		if got := addrOfReverse(s); got.IsValid() {
			t.Errorf("%q: %s", s, got)
		}
	}
}

func TestResolvers(t *testing.T) {
	a, err := ParseResolver("192.0.2.1#5353")
	must(t, err)
	b, err := ParseResolver("2001:db8::1")
	must(t, err)
	if diff := cmp.Diff("192.0.2.1:5353 [2001:db8::1]:53", fmt.Sprint(a, " ", b)); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"", "/example.org/192.0.2.1", "192.0.2.1#x"} {
		if _, err := ParseResolver(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
	if got := ParseText("n," + strings.Repeat("x", 300)); len(got["n."]) != 2 || !slices.Equal(ParseText("n")["n."], []string{}) || ParseText("") != nil {
		t.Errorf("texts %v", got)
	}
}

func TestLimit(t *testing.T) {
	const most = 20
	var l limit
	var entered atomic.Int32
	var all sync.WaitGroup
	for range 5 * most {
		all.Go(func() {
			if l.enter(most) {
				entered.Add(1)
			}
		})
	}
	all.Wait()
	if got := entered.Load(); got != most {
		t.Errorf("%d entered", got)
	}
	l.leave()
	if !l.enter(most) || l.enter(most) {
		t.Error("whoever leaves makes room for one")
	}
}
