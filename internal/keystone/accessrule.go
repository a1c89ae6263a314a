package keystone

import "strings"

// accessRule lets an application credential make some requests.
type accessRule struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	Path    string `json:"path"`
}

// matches tells whether the path fits the rule's pattern: {name} and * stand for some characters without a slash, **
// stands for anything.
func (a accessRule) matches(path string) bool { return match(a.Path, path) }

func match(pattern, path string) bool {
	for pattern != "" {
		if rest, ok := strings.CutPrefix(pattern, "**"); ok {
			for i := range len(path) + 1 {
				if match(rest, path[i:]) {
					return true
				}
			}
			return false
		}
		rest, wild := strings.CutPrefix(pattern, "*")
		if end := strings.IndexByte(pattern, '}'); pattern[0] == '{' && end > 0 {
			rest, wild = pattern[end+1:], true
		}
		if wild {
			for i := 1; i <= len(path) && path[i-1] != '/'; i++ {
				if match(rest, path[i:]) {
					return true
				}
			}
			return false
		}
		if path == "" || path[0] != pattern[0] {
			return false
		}
		pattern, path = pattern[1:], path[1:]
	}
	return path == ""
}
