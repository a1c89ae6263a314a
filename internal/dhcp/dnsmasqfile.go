package dhcp

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// DnsmasqFile is what of a dnsmasq configuration file (dnsmasq_config_file) has a meaning here.
type DnsmasqFile struct {
	Options4, Options6 []Option
	Servers            []string // of "server="
	Unused             []string // lines without effect, with the reason
}

// ReadDnsmasqFile reads dhcp-option, dhcp-option-force and server.
func (p *Parser) ReadDnsmasqFile(r io.Reader) (DnsmasqFile, error) {
	var out DnsmasqFile
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch name {
		case "server":
			out.Servers = append(out.Servers, value)
		case "dhcp-option", "dhcp-option-force":
			if err := p.option(&out, value, name == "dhcp-option-force"); err != nil {
				out.Unused = append(out.Unused, fmt.Sprintf("%s: %v", line, err))
			}
		default:
			out.Unused = append(out.Unused, line)
		}
	}
	return out, lines.Err()
}

// option reads "tag:NAME,option:NAME,VALUE".
func (p *Parser) option(out *DnsmasqFile, text string, force bool) error {
	name, is4 := "", true
	for rest := text; ; {
		part, after, more := strings.Cut(rest, ",")
		name += part
		if rest = after; strings.HasPrefix(part, "tag:") && more {
			name += ","
			continue
		}
		is4 = !strings.HasPrefix(part, "option6:")
		o, err := p.Parse(is4, name, after)
		if err != nil {
			return err
		}
		o.Force = force
		if is4 {
			out.Options4 = append(out.Options4, o)
		} else {
			out.Options6 = append(out.Options6, o)
		}
		return nil
	}
}
