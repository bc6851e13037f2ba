package srtrelay_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/fences"
)

// commandPages are the pages whose commands e2e runs.
func commandPages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) < 10 {
		t.Fatal(docs, err)
	}
	decisions, err := filepath.Glob("docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]string{"README.md", "CONTRIBUTING.md", "SECURITY.md"}, docs, decisions)
}

// commandLine is how a line begins that is a command.
var commandLine = regexp.MustCompile(`^\s*(\$ |sudo |bin/srtrelay|srtrelay (-|[a-z])|make |curl |go (run|test)|systemctl |kubectl |helm )`)

// Every block says what it is, and those that say that they hold no command hold none.
func TestDocsMarkTheirCommands(t *testing.T) {
	ran, skipped := 0, 0
	for _, file := range commandPages(t) {
		page := read(t, file)
		found, err := fences.Read(file, page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, f := range found {
			switch {
			case f.HasCommands():
				if _, err := f.Steps(); err != nil {
					t.Error(err)
				}
				if f.Skip == "" {
					ran++
				} else {
					skipped++
				}
			default:
				for _, line := range f.Text {
					if commandLine.MatchString(line) {
						t.Errorf("%s: %q is a command in a block of %s", f, line, f.Kind)
					}
				}
			}
		}
		indented := regexp.MustCompile(`(?m)^    ` + strings.TrimPrefix(commandLine.String(), `^\s*`))
		if line := indented.FindString(page); line != "" {
			t.Errorf("%s: %q is a command without a fence", file, line)
		}
	}
	if ran < 15 || ran < skipped {
		t.Errorf("%d blocks run, %d skipped", ran, skipped)
	}
}
