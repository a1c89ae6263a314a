package nft

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Contents is what a table holds, as far as it is needed to compare it with what is wanted.
type Contents struct {
	// Sets are the elements of sets and maps by name: key as in a script without quotes ("tap1 . 10.0.0.1"), and value
	// ("" for sets, "jump x" or a number for maps).
	Sets map[string]map[string]string
	// Chains are the comments of the rules of each chain, in order.
	Chains map[string][]string
}

// List reads a table. It returns ErrNotFound if there is none.
func List(ctx context.Context, family, table string) (*Contents, error) {
	out, err := run(ctx, "", "-j", "list", "table", family, table)
	if err != nil {
		return nil, err
	}
	c, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("list of table %s %s: %w", family, table, err)
	}
	return c, nil
}

type jsonSet struct {
	Name string            `json:"name"`
	Map  json.RawMessage   `json:"map"`
	Elem []json.RawMessage `json:"elem"`
}

func parse(out []byte) (*Contents, error) {
	var doc struct {
		Objects []struct {
			Set   *jsonSet `json:"set"`
			Map   *jsonSet `json:"map"`
			Chain *struct {
				Name string `json:"name"`
			} `json:"chain"`
			Rule *struct {
				Chain   string `json:"chain"`
				Comment string `json:"comment"`
			} `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return nil, err
	}
	c := &Contents{Sets: map[string]map[string]string{}, Chains: map[string][]string{}}
	for _, o := range doc.Objects {
		switch {
		case o.Set != nil:
			c.Sets[o.Set.Name] = elements(o.Set)
		case o.Map != nil:
			c.Sets[o.Map.Name] = elements(o.Map)
		case o.Chain != nil:
			c.Chains[o.Chain.Name] = nil
		case o.Rule != nil:
			c.Chains[o.Rule.Chain] = append(c.Chains[o.Rule.Chain], o.Rule.Comment)
		}
	}
	return c, nil
}

func elements(s *jsonSet) map[string]string {
	all := make(map[string]string, len(s.Elem))
	for _, e := range s.Elem {
		var pair []json.RawMessage
		if s.Map != nil && json.Unmarshal(e, &pair) == nil && len(pair) == 2 {
			all[text(pair[0])] = text(pair[1])
		} else {
			all[text(e)] = ""
		}
	}
	return all
}

// text is the script form of a value. What is not one of the forms below gives its JSON, which equals nothing wanted.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var v struct {
		Concat []json.RawMessage `json:"concat"`
		Prefix *struct {
			Addr string
			Len  int
		} `json:"prefix"`
		Jump *struct{ Target string } `json:"jump"`
		Goto *struct{ Target string } `json:"goto"`
	}
	if json.Unmarshal(raw, &v) != nil {
		return string(raw) // a number
	}
	switch {
	case v.Concat != nil:
		parts := make([]string, len(v.Concat))
		for i, p := range v.Concat {
			parts[i] = text(p)
		}
		return strings.Join(parts, " . ")
	case v.Prefix != nil:
		return fmt.Sprintf("%s/%d", v.Prefix.Addr, v.Prefix.Len)
	case v.Jump != nil:
		return "jump " + v.Jump.Target
	case v.Goto != nil:
		return "goto " + v.Goto.Target
	}
	var verdict map[string]json.RawMessage
	if json.Unmarshal(raw, &verdict) == nil && len(verdict) == 1 {
		for name := range verdict {
			if name == "drop" || name == "accept" {
				return name
			}
		}
	}
	return string(raw)
}
