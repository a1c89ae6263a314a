package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	yamlparser "github.com/goccy/go-yaml/parser"
)

// overrides are the rules of policy files by name.
type overrides map[string]override

type override struct {
	expr Expr
	file string
	line int
}

// readOverrides reads the policy files, then those of the directories. Later files win rule by rule.
func readOverrides(files, dirs []string) (overrides, error) {
	paths, err := policyFiles(files, dirs)
	if err != nil {
		return nil, err
	}
	over := overrides{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read policy file: %w", err)
		}
		if err := over.read(path, data); err != nil {
			return nil, err
		}
	}
	return over, nil
}

// policyFiles lists files and what the directories hold. Like upstream it takes every file of a directory that is not
// hidden, whatever its extension.
func policyFiles(files, dirs []string) ([]string, error) {
	paths := append([]string(nil), files...)
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir) // sorted by name
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list policy directory: %w", err)
		}
		for _, entry := range entries {
			if !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
				paths = append(paths, filepath.Join(dir, entry.Name()))
			}
		}
	}
	return paths, nil
}

// read adds the rules of one file. JSON is read as YAML, which contains it.
func (o overrides) read(path string, data []byte) error {
	doc, err := yamlparser.ParseBytes(data, 0, yamlparser.AllowDuplicateMapKey())
	var items yaml.MapSlice
	if err == nil {
		err = yaml.UnmarshalWithOptions(data, &items, yaml.AllowDuplicateMapKey())
	}
	if err != nil {
		return &SyntaxError{File: path, Err: errors.New(yaml.FormatError(err, false, false))}
	}
	if len(doc.Docs) > 1 {
		return &SyntaxError{File: path, Err: errors.New(`a policy file is one document; what follows "---" would be lost`)}
	}
	lines := keyLines(doc)
	for _, item := range items {
		name, ok := item.Key.(string)
		if !ok {
			return &SyntaxError{File: path, Err: fmt.Errorf("the name of a rule must be text, not %v", item.Key)}
		}
		expr, err := parseValue(item.Value)
		if err != nil {
			bad := &SyntaxError{File: path, Line: lines[name], Rule: name, Err: err}
			if at, ok := errors.AsType[*SyntaxError](err); ok {
				bad.Pos, bad.Err = at.Pos, at.Err
			}
			return bad
		}
		o[name] = override{expr, path, lines[name]}
	}
	return nil
}

func parseValue(value any) (Expr, error) {
	switch v := value.(type) {
	case string:
		return Parse(v)
	case []any:
		return parseList(v)
	case nil:
		// Upstream allows everything here; nobody who leaves a value out by accident wants that.
		return nil, errors.New(`no value; write "" or "@" to allow everybody, "!" to allow nobody`)
	}
	return nil, fmt.Errorf("a rule must be text or a list, not %v", value)
}

// keyLines finds the lines of the rules' names, for error messages.
func keyLines(file *ast.File) map[string]int {
	lines := map[string]int{}
	for _, doc := range file.Docs {
		switch body := doc.Body.(type) {
		case *ast.MappingNode:
			for _, v := range body.Values {
				noteLine(lines, v)
			}
		case *ast.MappingValueNode:
			noteLine(lines, body)
		}
	}
	return lines
}

func noteLine(lines map[string]int, v *ast.MappingValueNode) {
	if t := v.Key.GetToken(); t != nil && t.Position != nil {
		lines[t.Value] = t.Position.Line
	}
}
