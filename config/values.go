package config

import (
	"cmp"
	"strconv"
	"strings"
)

// Value is a setting in force.
type Value struct {
	Name string
	// Text is the value as it was written, with commas between the items of a list and
	// *** for secrets. For a computed default it is the result.
	Text string
	// Origin is the flag, the variable, or the file with its key; "" for a default.
	Origin string
}

// values returns every setting with the value in force.
func (c *Config) values(from origins) []Value {
	computed := c.computed()
	all := make([]Value, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		v, set := from[f.name]
		text := cmp.Or(computed[f.name], f.shown)
		if set {
			texts := make([]string, len(v.texts))
			for i, text := range v.texts {
				texts[i] = text
				if f.show != nil {
					texts[i] = f.show(text)
				}
			}
			text = strings.Join(texts, ",")
		}
		if v.preset {
			v.origin = ""
		}
		all = append(all, Value{Name: f.name, Text: text, Origin: v.origin})
	}
	return all
}

// computed returns the defaults that depend on the machine or the environment.
func (c *Config) computed() map[string]string {
	return map[string]string{
		"shards":          strconv.Itoa(c.Shards),
		"session-ledger":  cmp.Or(c.SessionLedger, runtimeOff),
		"takeover-socket": cmp.Or(c.TakeOverSocket, runtimeOff),
	}
}
