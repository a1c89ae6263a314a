package model

import (
	"strings"

	"neutrino/internal/resource"
)

// MaxTagLen is how many characters a tag may have.
const MaxTagLen = 255

// Tags is a list of distinct tags.
var Tags = func() resource.Type[[]string] {
	item := resource.String(MaxTagLen)
	return resource.Type[[]string]{Name: "list of distinct strings", Append: resource.AppendList(resource.AppendString),
		Parse: func(v any) ([]string, error) {
			list, ok := v.([]any)
			if !ok {
				return nil, resource.Reasonf("'%s' is not a list", resource.Py(v))
			}
			tags := []string{}
			var twice []string
			count := map[string]int{}
			for _, e := range list {
				s := resource.Py(e)
				if count[s]++; count[s] == 2 {
					twice = append(twice, s)
				}
				tags = append(tags, s)
			}
			if len(twice) > 0 {
				return nil, resource.Reasonf("Duplicate items in the list: '%s'", strings.Join(twice, ", "))
			}
			for _, e := range list {
				if _, err := item.Parse(e); err != nil {
					return nil, err
				}
			}
			return tags, nil
		}}
}()
