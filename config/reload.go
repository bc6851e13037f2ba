package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// reloadClass says whether a running relay can take on another value of a setting. The
// zero value is none: every field states its class.
type reloadClass uint8

const (
	_            reloadClass = iota
	inPlace                  // a reload applies it
	needsUpgrade             // it takes a new process: srtrelay upgrade
)

// ErrNoFile says that there is nothing to reload: flags and variables do not change.
var ErrNoFile = errors.New("there is no configuration file")

// inputs are what Load has read. They do not change.
type inputs struct {
	args     []string
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	cpus     int     // that the process could use when it started
	written  origins // the values in force, with their secrets
}

// Change is a setting whose value differs between two configurations. Secrets are ***.
type Change struct {
	Name     string
	From, To string
	// InPlace means that a reload applies it. If it does not, Why may say why.
	InPlace bool
	Why     string
}

// Next is what a reload has read.
type Next struct {
	// Config has the new values of the settings that a reload applies, and the old
	// values of all others: what is in force after the reload.
	Config Config
	// File has all new values, as a new process would have them.
	File Config
	// Changes are in the order of Settings.
	Changes []Change
}

// Reload reads the file again, with the flags and variables of Load. It returns
// ErrNoFile without one. Any other error is what Load would return, or says that the
// settings that a reload applies do not fit those that stay.
//
// refuse is asked about each change that could be applied. It returns why this process
// cannot apply it, "" if it can.
func (c *Config) Reload(refuse func(name string, file *Config) (why string)) (Next, error) {
	if c.File == "" {
		return Next{}, ErrNoFile
	}
	file, err := load(*c.inputs)
	if err != nil {
		return Next{}, err
	}
	n := Next{File: file}
	mixed := layer{}
	for i := range fields {
		f := &fields[i]
		from, to := c.inputs.written, file.inputs.written
		change, differs := f.compare(c, &file)
		if differs && change.InPlace {
			change.Why = refuse(f.name, &file)
			change.InPlace = change.Why == ""
		}
		if differs {
			n.Changes = append(n.Changes, change)
		}
		if f.reload == inPlace && (!differs || change.InPlace) {
			from = to
		}
		if v, set := from[f.name]; set {
			mixed[f.name] = v
		}
	}
	n.Config, err = c.with(mixed)
	return n, err
}

// with returns the settings of one layer that holds every value, for the process of c.
func (c *Config) with(all layer) (Config, error) {
	kept := *c.inputs
	mixed := Config{File: c.File, inputs: &kept}
	from := origins{}
	kept.written = from
	if err := all.apply(&mixed, from); err != nil {
		return Config{}, err
	}
	if err := mixed.finish(from); err != nil {
		return Config{}, fmt.Errorf("%w (with the settings that only srtrelay upgrade changes)", err)
	}
	mixed.SessionLedger = c.SessionLedger
	mixed.Values = mixed.values(from)
	return mixed, nil
}

// compare compares the values of a setting in two configurations, however they are
// written.
func (f *field) compare(was, is *Config) (Change, bool) {
	a, b := was.inputs.written[f.name].texts, is.inputs.written[f.name].texts
	if slices.Equal(a, b) || reflect.DeepEqual(f.alone(was, a), f.alone(is, b)) {
		return Change{}, false
	}
	from, to := valueOf(was.Values, f.name), valueOf(is.Values, f.name)
	return Change{Name: f.name, From: from, To: to, InPlace: f.reload == inPlace}, true
}

// alone returns a configuration with this setting only. A computed default counts as if
// it were written.
func (f *field) alone(c *Config, texts []string) (only Config) {
	if computed, ok := c.computed()[f.name]; ok && texts == nil {
		texts = []string{computed}
	}
	if f.list() { // in any order
		texts = slices.Sorted(slices.Values(texts))
	}
	for _, text := range texts {
		_ = f.read(&only, text) // Load has read it
	}
	return only
}

func valueOf(all []Value, name string) string {
	i := slices.IndexFunc(all, func(v Value) bool { return v.Name == name })
	return all[i].Text
}

// NewWarnings returns the warnings that another configuration has not.
func (n *Next) NewWarnings(old Config) []string {
	return slices.DeleteFunc(slices.Clone(n.Config.Warnings), func(line string) bool { return slices.Contains(old.Warnings, line) })
}
