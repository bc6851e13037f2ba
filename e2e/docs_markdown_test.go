//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the pages whose commands are run.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) < 10 {
		t.Fatal(docs, err)
	}
	decisions, err := filepath.Glob("../docs/adr/*.md")
	must(t, err)
	return slices.Concat([]string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md"}, docs, decisions)
}

// Commands in running text and in tables are commands of the binary, with flags that it has.
func TestDocsNameRealCommands(t *testing.T) {
	t.Parallel()
	span := regexp.MustCompile("`(?:bin/)?srtrelay ([a-z]+)([^`]*)`")
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	help := map[string]string{}
	seen := 0
	for _, file := range pages(t) {
		page, err := os.ReadFile(file)
		must(t, err)
		for _, m := range span.FindAllStringSubmatch(string(page), -1) {
			name := m[1]
			if _, known := help[name]; !known {
				if out, err := runShell(t, "", nil, binary+" help "+name, 0); err == nil {
					help[name] = out
					if slices.Contains([]string{"check", "config", "keep", "upgrade"}, name) { // have the flags of serve
						serve, err := runShell(t, "", nil, binary+" help serve", 0)
						must(t, err)
						help[name] += serve
					}
				} else {
					t.Errorf("%s: %s: no such command", file, m[0])
					help[name] = ""
				}
			}
			for _, f := range flag.FindAllString(m[2], -1) {
				if !strings.Contains(help[name], f+" ") && !strings.Contains(help[name], f+"\n") {
					t.Errorf("%s: %s: %s has no %s", file, m[0], name, f)
				}
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands", seen)
	}
}

// What make is asked for, in text or in a block, is a target of the Makefile.
func TestDocsNameRealTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../Makefile")
	must(t, err)
	asked := regexp.MustCompile("(?m)(?:`|^(?:\\$ )?)make ([a-z][a-z0-9-]*)")
	seen := 0
	for _, file := range pages(t) {
		page, err := os.ReadFile(file)
		must(t, err)
		for _, m := range asked.FindAllStringSubmatch(string(page), -1) {
			seen++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## `).Match(makefile) {
				t.Errorf("%s: make %s: no such target", file, m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d targets", seen)
	}
}
