package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const usageHead = `srtrelay relays SRT callers to SRT backends, datagram by datagram.

Usage:
%s
A flag beats its variable, that beats the key of the flag's name in the file,
that beats the default. Lists take commas, flags of lists may be repeated.
`

const usageTail = `
Others:
  --config FILE
        YAML file of settings; env SRTRELAY_CONFIG
  --version
        print the version
  -h, --help
        print this text

Exit codes: 0 stopped in good order, 1 failed while running, 2 could not start.
`

// Usage is the text for the operator: every flag with its default and its
// environment variables. commands are the lines that tell what else there is.
func Usage(commands string) string {
	var b strings.Builder
	fmt.Fprintf(&b, usageHead, commands)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		name := strings.TrimRight("--"+s.Name+" "+s.Arg, " ")
		fmt.Fprintf(&b, "  %s\n        %s\n        default %s; env %s\n", name, s.Help, s.Default, strings.Join(s.Env, ", "))
	}
	b.WriteString(usageTail)
	return b.String()
}

// Setting is one setting as texts about it tell it. It changes nothing.
type Setting struct {
	Name    string // of the flag, without dashes, and of the key in the file
	Group   string
	Arg     string // placeholder of the value, "" for a switch
	Default string
	Help    string
	Env     []string // variables, the first is our own
}

// Settings are all settings in the order in which they are told.
func Settings() []Setting {
	all := make([]Setting, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		all = append(all, Setting{
			Name: f.name, Group: f.group, Arg: f.arg, Default: cmp.Or(f.def, f.shown), Help: f.help,
			Env: slices.Concat([]string{envName(f.name)}, f.aliases),
		})
	}
	return all
}

const sampleHead = `# Settings of srtrelay: srtrelay --config FILE. A variable beats a key of this
# file, a flag beats both. "srtrelay check --config FILE" says what is wrong with
# it, "srtrelay config --config FILE" which values are in force.
#
# Every key is here with its default. Lists may be YAML lists.
`

// Sample is a file of settings in which every key stands as a comment, with its
// help and its default.
func Sample() string {
	var b strings.Builder
	b.WriteString(sampleHead)
	group := ""
	for i := range fields {
		f := &fields[i]
		if f.group != group {
			group = f.group
			fmt.Fprintf(&b, "\n# %s\n", group)
		}
		fmt.Fprintf(&b, "\n# %s\n", sentence(f.help))
		switch {
		case f.def != "":
			fmt.Fprintf(&b, "#%s: %s\n", f.name, quoted(f.def))
		case f.list():
			fmt.Fprintf(&b, "#%s: []\n", f.name)
		default: // computed or none
			fmt.Fprintf(&b, "#%s: %s # default %s\n", f.name, f.arg, f.shown)
		}
	}
	return b.String()
}

// sentence begins a help text with a capital, unless it begins with a URL.
func sentence(help string) string {
	if word, _, _ := strings.Cut(help, " "); strings.Contains(word, "://") {
		return help
	}
	return strings.ToUpper(help[:1]) + help[1:]
}

// quoted is a scalar as YAML reads it back as text.
func quoted(text string) string {
	if strings.HasPrefix(text, ":") {
		return fmt.Sprintf("%q", text)
	}
	return text
}
