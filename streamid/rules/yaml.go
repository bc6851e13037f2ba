package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// position is a value in a file, with what an error message needs to name it.
type position struct {
	file string
	key  string // as an operator would write it: sources[0].network
	node *yaml.Node
}

// errMissing marks a key without a value.
var errMissing = errors.New("value missing")

// document reads a file that holds one YAML document, or nothing.
func document(name string, text []byte) (position, error) {
	if len(text) > maxFile {
		return position{}, fmt.Errorf("rules: %s: larger than %d bytes", name, maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return position{}, nil // empty, or comments only
	case err != nil:
		return position{}, syntax(name, err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return position{}, fmt.Errorf("rules: %s:%d: more than one document", name, more.Line)
	case !errors.Is(err, io.EOF):
		return position{}, syntax(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return position{}, nil
	}
	return position{file: name, node: root}, nil
}

// syntax returns an error of the YAML library in the form of this package's errors.
func syntax(name string, err error) error {
	why := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("rules: %s:%s: %s", name, line, what)
		}
	}
	return fmt.Errorf("rules: %s: %s", name, why)
}

// bad is the error for this position.
func (a position) bad(why string) error { return a.wrong(errors.New(why)) }

// refuse is the error for a value that cannot be used.
func (a position) refuse(text string, why error) error {
	return a.wrong(fmt.Errorf("%q: %w", text, why))
}

func (a position) wrong(why error) error {
	if a.key == "" {
		return fmt.Errorf("rules: %s:%d: %w", a.file, a.node.Line, why)
	}
	return fmt.Errorf("rules: %s:%d: key %q: %w", a.file, a.node.Line, a.key, why)
}

func (a position) missing(key string) error { return a.bad("without " + key) }

func (a position) mapping() bool { return a.node.Kind == yaml.MappingNode }

// fields reads a mapping. known has a function for each key.
func (a position) fields(known map[string]func(position) error) error {
	if !a.mapping() {
		return a.bad("must be a mapping with keys out of " + names(known))
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(a.node.Content); i += 2 {
		key, val := a.node.Content[i], a.node.Content[i+1]
		sub := position{file: a.file, key: strings.TrimPrefix(a.key+"."+key.Value, "."), node: key}
		fn := known[key.Value]
		switch {
		case fn == nil || key.Kind != yaml.ScalarNode:
			return sub.bad("unknown key, not one of " + names(known))
		case seen[key.Value]:
			return sub.bad("set twice")
		}
		seen[key.Value] = true
		sub.node = val
		if err := fn(sub); err != nil {
			return err
		}
	}
	return nil
}

// value finds the value of a key in a mapping, if it is one and has the key.
func (a position) value(key string) (position, bool) {
	if !a.mapping() {
		return position{}, false
	}
	for i := 0; i+1 < len(a.node.Content); i += 2 {
		if a.node.Content[i].Value == key {
			return position{file: a.file, key: strings.TrimPrefix(a.key+"."+key, "."), node: a.node.Content[i+1]}, true
		}
	}
	return position{}, false
}

func names(known map[string]func(position) error) string {
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// items reads a list. It refuses an empty one: an empty allow list could mean
// nobody or everybody.
func (a position) items(fn func(position) error) error {
	switch {
	case a.node.Kind != yaml.SequenceNode:
		return a.bad("must be a list")
	case len(a.node.Content) == 0:
		return a.bad("lists nothing, leave the key out")
	}
	for i, item := range a.node.Content {
		if err := fn(position{file: a.file, key: a.key + "[" + strconv.Itoa(i) + "]", node: item}); err != nil {
			return err
		}
	}
	return nil
}

// text reads one scalar as it was written.
func (a position) text() (string, error) {
	switch {
	case a.node.Kind != yaml.ScalarNode:
		return "", a.bad("must be one plain value")
	case a.node.Tag == "!!null":
		return "", a.wrong(errMissing)
	}
	return a.node.Value, nil
}

func (a position) truth() (bool, error) {
	text, err := a.text()
	if err == nil && text != "true" && text != "false" {
		err = a.refuse(text, errors.New("not true or false"))
	}
	return text == "true", err
}
