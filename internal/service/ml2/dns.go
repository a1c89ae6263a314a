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
			rows = append(rows, nameRow(port))
		}
	}
	return insertNameRows(tx, rows)
}

// updateNames stores the names of a port that was changed, and tells whether it had no row for them: upstream counts the row
// as a change, even one without names.
func (p *Plugin) updateNames(c *resource.Change[model.Port]) (made bool, err error) {
	old, now := c.Old, c.New
	if !p.cfg.choosesNames() {
		now.DNSName, now.DNSDomain = old.DNSName, old.DNSDomain
		return false, nil
	}
	if !c.Has("dns_name") && !c.Has("dns_domain") {
		return false, nil
	}
	_, found, err := store.One[int](c.Tx.QueryRow("SELECT 1 FROM portdnses WHERE port_id = ?", now.ID))
	switch {
	case err != nil:
	case !found:
		return true, insertNameRows(c.Tx, [][]any{nameRow(now)})
	case now.DNSName != old.DNSName || now.DNSDomain != old.DNSDomain:
		_, err = c.Tx.Exec("UPDATE portdnses SET dns_name = ?, dns_domain = ? WHERE port_id = ?", now.DNSName, now.DNSDomain, now.ID)
	}
	if err != nil {
		return false, fmt.Errorf("name port %s: %w", now.ID, err)
	}
	return false, nil
}

func nameRow(port *model.Port) []any {
	return []any{port.ID, port.DNSName, port.DNSDomain, "", "", "", ""}
}

func insertNameRows(tx *store.Tx, rows [][]any) error {
	return tx.InsertRows("portdnses", []string{"port_id", "dns_name", "dns_domain", "current_dns_name", "current_dns_domain",
		"previous_dns_name", "previous_dns_domain"}, rows)
}
