package config

import (
	"fmt"
	"slices"
	"strings"
)

const usageHead = `srtrelay relays SRT callers to SRT backends, datagram by datagram.

Usage:
  srtrelay [serve] [flags]   run the relay
  srtrelay resolve STREAMID  ask a running relay where a stream ID would go
  srtrelay version           print the version
  srtrelay help              print this text

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
// environment variables.
func Usage() string {
	var b strings.Builder
	b.WriteString(usageHead)
	for i := range fields {
		f := &fields[i]
		if i == 0 || f.group != fields[i-1].group {
			fmt.Fprintf(&b, "\n%s:\n", f.group)
		}
		name := strings.TrimRight("--"+f.name+" "+f.arg, " ")
		def := f.def
		if def == "" {
			def = f.shown
		}
		env := strings.Join(slices.Concat([]string{envName(f.name)}, f.aliases), ", ")
		fmt.Fprintf(&b, "  %s\n        %s\n        default %s; env %s\n", name, f.help, def, env)
	}
	b.WriteString(usageTail)
	return b.String()
}
