package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// value is a setting as it was written, with its source.
type value struct {
	texts  []string // one, or any number for a list
	origin string   // what the operator calls it: a flag, a variable, a key
	preset bool     // it is the default
}

// layer holds the settings of one source by field name.
type layer map[string]value

// origins holds the values in force, with their sources, by field name.
type origins layer

// of names the origin of a setting; a default is named by its flag.
func (o origins) of(name string) string {
	if v, set := o[name]; set {
		return v.origin
	}
	return "--" + name
}

// apply parses the layer into c, in the order of fields, so that the same mistakes always
// give the same error.
func (l layer) apply(c *Config, from origins) error {
	for i := range fields {
		f := &fields[i]
		v, ok := l[f.name]
		if !ok {
			continue
		}
		if f.reset != nil {
			f.reset(c)
		}
		for _, text := range v.texts {
			if err := f.read(c, text); err != nil {
				if f.show != nil {
					text = f.show(text)
				}
				return bad(v.origin, text, err)
			}
		}
		from[f.name] = v
	}
	return nil
}

// read sets a value that is one of the field's values, if they are a closed list.
func (f *field) read(c *Config, text string) error {
	switch {
	case f.values == nil || slices.Contains(f.values, text):
		return f.set(c, text)
	case len(f.values) == 2:
		return errors.New("not " + f.values[0] + " or " + f.values[1])
	}
	return errors.New("not one of " + strings.Join(f.values, ", "))
}

// bad returns the error for an invalid value.
func bad(origin, text string, why error) error {
	return fmt.Errorf("config: %s: %q: %w", origin, text, why)
}

// defaults returns the lowest layer.
func defaults() layer {
	l := layer{}
	for i := range fields {
		if f := &fields[i]; f.def != "" {
			l[f.name] = value{texts: []string{f.def}, origin: "--" + f.name, preset: true}
		}
	}
	return l
}

// split returns the items of a list that is written as one text.
func (f *field) split(text string) []string {
	if !f.list() {
		return []string{text}
	}
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}
