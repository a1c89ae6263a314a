package model

import (
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
			if err := distinct(list); err != nil {
				return nil, err
			}
			tags := []string{}
			for _, e := range list {
				if _, err := item.Parse(e); err != nil {
					return nil, err
				}
				tags = append(tags, resource.Py(e))
			}
			return tags, nil
		}}
}()
