package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is far more than a real file has. It refuses a mistyped path to a disk image or
// a log.
const maxFile = 1 << 20

func loadFile(name string, readFile func(string) ([]byte, error)) (layer, error) {
	text, err := readFile(name)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err // the line names the file already
		}
		return nil, fmt.Errorf("config: file %s: %w", name, err)
	}
	l, err := parseFile(name, text)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return l, nil
}

// parseFile reads a YAML mapping of setting names to values. It keeps the scalars as they
// are written: off is a word here, and not a boolean.
func parseFile(name string, text []byte) (layer, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("file %s: larger than %d bytes", name, maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	} else if err != nil {
		return nil, yamlError(name, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return nil, fmt.Errorf("%s:%d: more than one document", name, more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(name, err)
	}

	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: not a mapping of settings to values", name, root.Line)
	}
	l, lines := layer{}, map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		f := fieldByName(key.Value)
		if f == nil || key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("%s:%d: key %q: unknown key%s", name, key.Line, key.Value, suggest(key.Value, ""))
		}
		if line, twice := lines[f.name]; twice {
			return nil, fmt.Errorf("%s:%d: key %q: set twice, first in line %d", name, key.Line, f.name, line)
		}
		lines[f.name] = key.Line
		origin := fmt.Sprintf("%s:%d: key %q", name, key.Line, f.name)
		texts, err := f.scalars(val)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", origin, err)
		}
		l[f.name] = value{texts: texts, origin: origin}
	}
	return l, nil
}

// scalars reads the value of a key: a scalar or, for a list, also a sequence.
func (f *field) scalars(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.SequenceNode && f.list() {
		texts := []string{}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, errors.New("items must be plain values")
			}
			texts = append(texts, item.Value)
		}
		return texts, nil
	}
	if n.Kind != yaml.ScalarNode {
		return nil, errors.New("must be one plain value")
	}
	if n.Tag == "!!null" {
		return nil, errors.New("value missing")
	}
	return f.split(n.Value), nil
}

// yamlError returns the parser's error with the file and, if the parser names it, the
// line.
func yamlError(name string, err error) error {
	text := strings.TrimPrefix(oneLine(err.Error()), "yaml: ")
	if at, why, found := strings.Cut(strings.TrimPrefix(text, "line "), ": "); found && strings.HasPrefix(text, "line ") {
		return fmt.Errorf("%s:%s: %s", name, at, why)
	}
	return fmt.Errorf("file %s: %s", name, text)
}
