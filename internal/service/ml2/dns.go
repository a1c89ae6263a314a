package ml2

import (
	"fmt"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// defaultDomain is the domain with which users cannot choose the names of ports (neutron_lib.constants.DNS_DOMAIN_DEFAULT).
const defaultDomain = "openstacklocal."

// maxFQDN is how many characters a domain name may have.
const maxFQDN = 255

// dnsDomain is the option dns_domain with a full stop at its end, or "".
func (c *Config) dnsDomain() string {
	if c.DNSDomain == "" || strings.HasSuffix(c.DNSDomain, ".") {
		return c.DNSDomain
	}
	return c.DNSDomain + "."
}

// choosesNames tells whether users may choose the names of ports.
func (c *Config) choosesNames() bool {
	domain := c.dnsDomain()
	return domain != "" && domain != defaultDomain
}

// checkDNSName refuses names that do not fit into the domain of ports (neutron_lib/api/validators/dns.py).
func (p *Plugin) checkDNSName(port *model.Port) error {
	if port.DNSName == "" || !p.cfg.choosesNames() {
		return nil
	}
	higher := "." + p.cfg.dnsDomain()
	if !strings.HasSuffix(port.DNSName, ".") {
		if len(port.DNSName)+len(higher) > maxFQDN {
			return resource.Reasonf("The dns_name passed is a PQDN and its size is '%d'. The dns_domain option in neutron.conf is set to %s, "+
				"with a length of '%d'. When the two are concatenated to form a FQDN (with a '.' at the end), the resulting length exceeds "+
				"the maximum size of '%d'", len(port.DNSName), p.cfg.DNSDomain, len(higher), maxFQDN)
		}
		return nil
	}
	if len(port.DNSName) <= len(higher) || !strings.HasSuffix(port.DNSName, higher) {
		return resource.Reasonf("The dns_name passed is a FQDN. Its higher level labels must be equal to the dns_domain option in "+
			"neutron.conf, that has been set to '%[1]s'. It must also include one or more valid DNS labels to the left of '%[1]s'",
			p.cfg.DNSDomain)
	}
	return nil
}

// NamePorts fills DNSAssignment: a port has the name that was chosen, or else one that is made from each of its addresses.
func (p *Plugin) NamePorts(ports ...*model.Port) {
	if p.catalog.Ports.Bit("dns_assignment") == 0 {
		return
	}
	domain := p.cfg.dnsDomain()
	dashes := strings.NewReplacer(".", "-", ":", "-")
	for _, port := range ports {
		port.DNSAssignment = make([]model.DNSAssignment, len(port.FixedIPs))
		for i, f := range port.FixedIPs {
			host := port.DNSName
			if host == "" || !p.cfg.choosesNames() {
				host = "host-" + dashes.Replace(f.IPAddress)
			}
			port.DNSAssignment[i] = model.DNSAssignment{IPAddress: f.IPAddress, Hostname: host, FQDN: fqdn(host, domain)}
		}
	}
}

// fqdn makes a name absolute; without a domain it stays as it is.
func fqdn(host, domain string) string {
	if domain == "" || strings.HasSuffix(host, ".") {
		return host
	}
	return host + "." + domain
}

// insertNames stores the names that users chose for new ports.
func (p *Plugin) insertNames(tx *store.Tx, ports []*model.Port) error {
	var rows [][]any
	for _, port := range ports {
		if !p.cfg.choosesNames() {
			port.DNSName, port.DNSDomain = "", ""
		}
		if port.DNSName != "" || port.DNSDomain != "" {
			rows = append(rows, []any{port.ID, port.DNSName, port.DNSDomain, "", "", "", ""})
		}
	}
	return tx.InsertRows("portdnses", []string{"port_id", "dns_name", "dns_domain", "current_dns_name", "current_dns_domain",
		"previous_dns_name", "previous_dns_domain"}, rows)
}

// updateNames stores the names of a port that was changed. old is as it was.
func (p *Plugin) updateNames(tx *store.Tx, old, now *model.Port) error {
	if !p.cfg.choosesNames() {
		now.DNSName, now.DNSDomain = old.DNSName, old.DNSDomain
	}
	if now.DNSName == old.DNSName && now.DNSDomain == old.DNSDomain {
		return nil
	}
	n, err := tx.Exec("UPDATE portdnses SET dns_name = ?, dns_domain = ? WHERE port_id = ?", now.DNSName, now.DNSDomain, now.ID)
	if err != nil {
		return fmt.Errorf("name port %s: %w", now.ID, err)
	}
	if n > 0 {
		return nil
	}
	return p.insertNames(tx, []*model.Port{now})
}
