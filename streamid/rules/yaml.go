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

// at is a place in a file: the one thing that knows what to call it when it
// is wrong.
type at struct {
	file string
	key  string // as an operator would write it: sources[0].network
	node *yaml.Node
}

// errMissing marks a key without a value.
var errMissing = errors.New("value missing")

// document reads a file that holds one YAML document, or nothing.
func document(name string, text []byte) (at, error) {
	if len(text) > maxFile {
		return at{}, fmt.Errorf("rules: %s: larger than %d bytes", name, maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return at{}, nil // empty, or comments only
	case err != nil:
		return at{}, syntax(name, err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return at{}, fmt.Errorf("rules: %s:%d: more than one document", name, more.Line)
	case !errors.Is(err, io.EOF):
		return at{}, syntax(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return at{}, nil
	}
	return at{file: name, node: root}, nil
}

// syntax says in this room's form what the YAML library found wrong.
func syntax(name string, err error) error {
	why := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("rules: %s:%s: %s", name, line, what)
		}
	}
	return fmt.Errorf("rules: %s: %s", name, why)
}

// bad is the one line for this place.
func (a at) bad(why string) error { return a.wrong(errors.New(why)) }

// refuse is the one line for a value that cannot be used.
func (a at) refuse(text string, why error) error { return a.wrong(fmt.Errorf("%q: %w", text, why)) }

func (a at) wrong(why error) error {
	if a.key == "" {
		return fmt.Errorf("rules: %s:%d: %w", a.file, a.node.Line, why)
	}
	return fmt.Errorf("rules: %s:%d: key %q: %w", a.file, a.node.Line, a.key, why)
}

func (a at) missing(key string) error { return a.bad("without " + key) }

func (a at) mapping() bool { return a.node.Kind == yaml.MappingNode }

// fields reads a mapping, each key by its own function.
func (a at) fields(known map[string]func(at) error) error {
	if !a.mapping() {
		return a.bad("must be a mapping with keys out of " + names(known))
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(a.node.Content); i += 2 {
		key, val := a.node.Content[i], a.node.Content[i+1]
		sub := at{file: a.file, key: strings.TrimPrefix(a.key+"."+key.Value, "."), node: key}
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
func (a at) value(key string) (at, bool) {
	if !a.mapping() {
		return at{}, false
	}
	for i := 0; i+1 < len(a.node.Content); i += 2 {
		if a.node.Content[i].Value == key {
			return at{file: a.file, key: strings.TrimPrefix(a.key+"."+key, "."), node: a.node.Content[i+1]}, true
		}
	}
	return at{}, false
}

func names(known map[string]func(at) error) string {
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// items reads a list. An empty one is refused: of "allow nobody" nobody knows
// whether it means none or all.
func (a at) items(fn func(at) error) error {
	switch {
	case a.node.Kind != yaml.SequenceNode:
		return a.bad("must be a list")
	case len(a.node.Content) == 0:
		return a.bad("lists nothing, leave the key out")
	}
	for i, item := range a.node.Content {
		if err := fn(at{file: a.file, key: a.key + "[" + strconv.Itoa(i) + "]", node: item}); err != nil {
			return err
		}
	}
	return nil
}

// text reads one scalar as it was written.
func (a at) text() (string, error) {
	switch {
	case a.node.Kind != yaml.ScalarNode:
		return "", a.bad("must be one plain value")
	case a.node.Tag == "!!null":
		return "", a.wrong(errMissing)
	}
	return a.node.Value, nil
}

func (a at) truth() (bool, error) {
	text, err := a.text()
	if err == nil && text != "true" && text != "false" {
		err = a.refuse(text, errors.New("not true or false"))
	}
	return text == "true", err
}
