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
A flag overrides its variable, the variable overrides the key of the same name
in the file, and the key overrides the default. Values of lists are separated by
commas; flags of lists may be repeated. A running relay reads the file again on
SIGHUP and srtrelay reload, which applies the settings that are reloadable; all
others need a new process, srtrelay upgrade.
`

const usageTail = `
Others:
  --config FILE
        YAML file of settings; env SRTRELAY_CONFIG
  --version
        print the version
  -h, --help
        print this text

Exit codes: 0 stopped normally, 1 failed while running, 2 could not start.
`

// Usage returns the help text: every flag with its default and its variables. commands are
// the lines of the other commands.
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
		fmt.Fprintf(&b, "  %s\n        %s\n        default %s; env %s", name, s.Help, s.Default, strings.Join(s.Env, ", "))
		if s.InPlace {
			b.WriteString("; reloadable")
		}
		b.WriteByte('\n')
	}
	b.WriteString(usageTail)
	return b.String()
}

// Setting describes a setting, for help texts.
type Setting struct {
	Name    string // of the flag, without dashes, and of the key in the file
	Group   string
	Arg     string // placeholder of the value, "" for a switch
	Default string
	Help    string
	Values  []string // all values that there are, nil if they are no closed list
	Env     []string // variables; the first is the SRTRELAY_ one
	InPlace bool     // a reload applies another value in the file
}

// Settings returns all settings in the order of the help.
func Settings() []Setting {
	all := make([]Setting, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		all = append(all, Setting{
			Name: f.name, Group: f.group, Arg: f.arg, Default: cmp.Or(f.def, f.shown), Help: f.help, Values: f.values,
			Env: slices.Concat([]string{envName(f.name)}, f.aliases), InPlace: f.reload == inPlace,
		})
	}
	return all
}

const sampleHead = `# Settings of srtrelay: srtrelay --config FILE. A variable beats a key of this
# file, a flag beats both. "srtrelay check --config FILE" says what is wrong with
# it, "srtrelay config --config FILE" which values are in force. A running relay
# reads it again on SIGHUP and "srtrelay reload", which says what has changed.
#
# Every key is here with its default. Lists may be YAML lists.
`

// Sample returns a settings file that holds every key as a comment, with its help and its
// default.
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

// sentence returns a help text with a capital letter first, unless it begins with a URL.
func sentence(help string) string {
	if word, _, _ := strings.Cut(help, " "); strings.Contains(word, "://") {
		return help
	}
	return strings.ToUpper(help[:1]) + help[1:]
}

// quoted returns a scalar that YAML reads as text.
func quoted(text string) string {
	if strings.HasPrefix(text, ":") {
		return fmt.Sprintf("%q", text)
	}
	return text
}
