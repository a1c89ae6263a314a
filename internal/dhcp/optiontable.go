package dhcp

// encoding says how the text of an option becomes octets.
type encoding uint8

const (
	guess     encoding = iota // dnsmasq's rules: addresses, a number, hexadecimal octets, else text
	address                   // list of addresses of the family
	text                      // as it is
	names                     // list of domain names (RFC 1035)
	uint8s                    // one octet
	uint16s                   // two octets
	uint32s                   // four octets
	seconds                   // time: four octets, suffixes m h d w, "infinite"
	routes                    // destination,router pairs (RFC 3442)
	strings16                 // strings with a length of two octets each
	ntp6                      // RFC 5908 suboptions
	sip4                      // RFC 3361: addresses or names, the first octet tells which
)

// known is an option of the table: its code and how its value is written.
type known struct {
	code uint16
	as   encoding
}

// options4ByName are dnsmasq's option names (`dnsmasq --help dhcp`) and a few that others use, for IPv4.
func options4ByName() map[string]known {
	return map[string]known{
		"netmask":                  {1, address},
		"time-offset":              {2, uint32s},
		"router":                   {3, address},
		"dns-server":               {6, address},
		"log-server":               {7, address},
		"lpr-server":               {9, address},
		"hostname":                 {12, text},
		"host-name":                {12, text},
		"boot-file-size":           {13, uint16s},
		"domain-name":              {15, text},
		"swap-server":              {16, address},
		"root-path":                {17, text},
		"extension-path":           {18, text},
		"ip-forward-enable":        {19, uint8s},
		"non-local-source-routing": {20, uint8s},
		"policy-filter":            {21, address},
		"max-datagram-reassembly":  {22, uint16s},
		"default-ttl":              {23, uint8s},
		"mtu":                      {26, uint16s},
		"interface-mtu":            {26, uint16s},
		"all-subnets-local":        {27, uint8s},
		"broadcast":                {28, address},
		"router-discovery":         {31, uint8s},
		"router-solicitation":      {32, address},
		"static-route":             {33, address},
		"trailer-encapsulation":    {34, uint8s},
		"arp-timeout":              {35, uint32s},
		"ethernet-encap":           {36, uint8s},
		"tcp-ttl":                  {37, uint8s},
		"tcp-keepalive":            {38, uint32s},
		"nis-domain":               {40, text},
		"nis-server":               {41, address},
		"ntp-server":               {42, address},
		"vendor-encap":             {43, guess},
		"netbios-ns":               {44, address},
		"netbios-dd":               {45, address},
		"netbios-nodetype":         {46, uint8s},
		"netbios-scope":            {47, text},
		"x-windows-fs":             {48, address},
		"x-windows-dm":             {49, address},
		"T1":                       {58, seconds},
		"T2":                       {59, seconds},
		"vendor-class":             {60, text},
		"nis+-domain":              {64, text},
		"nis+-server":              {65, address},
		"tftp-server":              {66, text},
		"tftp-server-name":         {66, text},
		"bootfile-name":            {67, text},
		"mobile-ip-home":           {68, address},
		"smtp-server":              {69, address},
		"pop3-server":              {70, address},
		"nntp-server":              {71, address},
		"irc-server":               {74, address},
		"user-class":               {77, text},
		"client-arch":              {93, uint16s},
		"posix-timezone":           {100, text},
		"tzdb-timezone":            {101, text},
		"ipv6-only":                {108, uint32s},
		"domain-search":            {119, names},
		"sip-server":               {120, sip4},
		"classless-static-route":   {121, routes},
		"vendor-id-encap":          {125, guess},
		"tftp-server-address":      {150, address},
		"wpad":                     {252, text},
		"microsoft-static-route":   {249, routes},
		"server-ip-address":        {codeServerIPAddress, address},
	}
}

// ownCodes are options that follow from the protocol and the lease, so that a port cannot choose them: addresses, times,
// message type, identifiers, and what answers a client's option.
func ownCodes() map[uint16]bool {
	return map[uint16]bool{50: true, 51: true, 52: true, 53: true, 54: true, 55: true, 56: true, 57: true, 61: true, 81: true, 82: true}
}

// options6ByName are the names for IPv6.
func options6ByName() map[string]known {
	return map[string]known{
		"client-id":                {1, guess},
		"preference":               {7, uint8s},
		"sip-server-domain":        {21, names},
		"sip-server":               {22, address},
		"dns-server":               {23, address},
		"domain-search":            {24, names},
		"nis-server":               {27, address},
		"nis+-server":              {28, address},
		"nis-domain":               {29, names},
		"nis+-domain":              {30, names},
		"sntp-server":              {31, address},
		"information-refresh-time": {32, seconds},
		"posix-timezone":           {41, text},
		"tzdb-timezone":            {42, text},
		"ntp-server":               {56, ntp6},
		"bootfile-url":             {59, text},
		"bootfile-param":           {60, strings16},
	}
}
