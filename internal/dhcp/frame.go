package dhcp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const ipv4HeaderLen, udpHeaderLen = 20, 8

// datagram4 wraps payload in UDP and IPv4 headers with full checksums. Clients that read raw frames drop replies whose
// checksum was left to the network card, which a virtual one never fills in.
func datagram4(from, to netip.AddrPort, payload []byte) []byte {
	length := udpHeaderLen + len(payload)
	p := make([]byte, ipv4HeaderLen, ipv4HeaderLen+length)
	p[0] = 4<<4 | ipv4HeaderLen/4
	binary.BigEndian.PutUint16(p[2:], uint16(ipv4HeaderLen+length))
	p[8], p[9] = 64, unix.IPPROTO_UDP
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	binary.BigEndian.PutUint16(p[10:], ^sum16(0, p))

	p = binary.BigEndian.AppendUint16(p, from.Port())
	p = binary.BigEndian.AppendUint16(p, to.Port())
	p = binary.BigEndian.AppendUint16(p, uint16(length))
	p = binary.BigEndian.AppendUint16(p, 0)
	p = append(p, payload...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(length)
	check := ^sum16(pseudo+uint32(sum16(0, p[12:20])), p[ipv4HeaderLen:])
	if check == 0 { // zero would mean "no checksum" (RFC 768)
		check = 0xffff
	}
	binary.BigEndian.PutUint16(p[ipv4HeaderLen+6:], check)
	return p
}

// sum16 is the Internet checksum (RFC 1071) before the final complement.
func sum16(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
