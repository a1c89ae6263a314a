// Package metadata brings an instance's request for its metadata to Nova.
//
// The request arrives at a Proxy inside a router's or DHCP server's network namespace. Which instance asks follows from
// where the request came in (the Source) and from its sender's address, never from what the request says. The Proxy
// hands it to a Backend: a Nova that finds the instance and forwards to Nova's metadata API, or a Socket that passes it
// to the metadata agent of this host, ours or upstream's, in the form that upstream's haproxy uses.
package metadata

import (
	"net"
	"net/http"
	"net/netip"
)

// Source is the router or network whose namespace a request came from: exactly one of them is set.
type Source struct {
	NetworkID string
	RouterID  string
}

// Backend answers the request that the instance with the address sent. It is called concurrently.
type Backend interface {
	ServeMetadata(w http.ResponseWriter, r *http.Request, from Source, client netip.Addr)
}

// Headers between proxy and agent (upstream's) and between agent and Nova.
const (
	headerNetwork      = "X-Neutron-Network-Id"
	headerRouter       = "X-Neutron-Router-Id"
	headerForwardedFor = "X-Forwarded-For"
	headerInstance     = "X-Instance-Id"
	headerTenant       = "X-Tenant-Id"
	headerSignature    = "X-Instance-Id-Signature"
)

// clientOf is the address of the other end of a connection, without zone and not mapped into IPv6.
func clientOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
