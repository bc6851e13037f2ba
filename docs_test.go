package srtrelay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/shard"
	"srtrelay/shard/kernelpath"
)

// operations is the operators' reference.
const operations = "docs/operations.md"

// cell is what stands first in a row of a table, quoted or not.
var cell = regexp.MustCompile("(?m)^\\| `?([^|`]+?)`? \\|")

// section returns what stands under a heading of the reference, up to the
// next of its rank: a name in another section's prose explains nothing.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, operations), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", operations, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rows are the first cells of all tables of a section.
func rows(t *testing.T, heading string) []string {
	t.Helper()
	var found []string
	for _, m := range cell.FindAllStringSubmatch(section(t, heading), -1) {
		found = append(found, m[1])
	}
	return found
}

// TestOperations holds the reference against the code: what an operator can
// meet has a row.
func TestOperations(t *testing.T) {
	for heading, names := range map[string][]string{
		"Why datagrams are dropped": dropReasons(),
		"Why callers are rejected":  rejectionCodes(),
		"Why sessions end":          endCauses(),
		"Alerts":                    alertNames(t),
		"Metrics":                   metricFamilies(t),
		"The kernel path":           kernelpath.Reasons(),
	} {
		t.Run(heading, func(t *testing.T) {
			if len(names) == 0 {
				t.Fatal("nothing to look for")
			}
			found := rows(t, heading)
			for _, name := range names {
				if !slices.Contains(found, name) {
					t.Errorf("%s: no row for %s", operations, name)
				}
			}
		})
	}
}

// TestOperationsNamesNothingElse finds rows that the code has outlived.
func TestOperationsNamesNothingElse(t *testing.T) {
	for heading, names := range map[string][]string{
		"Why datagrams are dropped": append(dropReasons(), "reason", "figure"),
		"Why sessions end":          append(endCauses(), "cause"),
		"Alerts":                    append(alertNames(t), "alert"),
		"Metrics":                   append(metricFamilies(t), "family"),
	} {
		for _, row := range rows(t, heading) {
			if !slices.Contains(names, row) && strings.Trim(row, "-") != "" {
				t.Errorf("%s, %q: there is no %s", operations, heading, row)
			}
		}
	}
}

// TestReloadNamesEverySetting holds the page against the code: the settings that a reload
// applies have a row, and the text below the table has all others.
func TestReloadNamesEverySetting(t *testing.T) {
	table, text := rows(t, "Reload"), section(t, "Reload")
	_, others, _ := strings.Cut(text, "\nAll others need")
	others, _, _ = strings.Cut(others, "\n\n")
	var applied, upgrade []string
	for _, row := range table {
		if row != "setting" && strings.Trim(row, "-") != "" {
			applied = append(applied, row)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(others, -1) {
		upgrade = append(upgrade, m[1])
	}
	for _, s := range config.Settings() {
		if slices.Contains(applied, s.Name) != s.InPlace || slices.Contains(upgrade, s.Name) == s.InPlace {
			t.Errorf("%s: %s: a reload applies it: %v", operations, s.Name, s.InPlace)
		}
	}
	if len(applied)+len(upgrade) != len(config.Settings()) {
		t.Errorf("%s: %d rows and %d others for %d settings", operations, len(applied), len(upgrade), len(config.Settings()))
	}
}

func dropReasons() []string {
	names := []string{shard.CountKernelDrops.String()}
	for k := range shard.NumCounters {
		if k.IsDrop() || k.IsSendDrop() {
			names = append(names, k.String())
		}
	}
	return names
}

// rejectionCodes are those with a name, and all that SRT itself defines.
func rejectionCodes() []string {
	var codes []string
	for c := range handshake.Code(4000) {
		number, _, named := strings.Cut(c.String(), " ")
		if named || c >= 1000 && c <= 1017 {
			codes = append(codes, number)
		}
	}
	return codes
}

func endCauses() (names []string) {
	for _, c := range shard.Causes() {
		names = append(names, c.String())
	}
	return names
}

func alertNames(t *testing.T) []string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/alerts.yaml")), &file); err != nil {
		t.Fatal(fmt.Errorf("parse the alerts: %w", err))
	}
	var names []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	return names
}

// metricFamilies are those of the golden scrape, which has one of everything.
func metricFamilies(t *testing.T) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(read(t, "observe/metrics/testdata/metrics.txt")) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if strings.HasPrefix(name, "srtrelay_") {
				names = append(names, name)
			}
		}
	}
	return names
}

// A line of prose ends at 100 characters. Tables, code and pictures have lines
// as long as they need.
func TestMarkdownWraps(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"docs/adr", "bench/notes"} {
		more, err := filepath.Glob(folder + "/*.md")
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d pages, %v", folder, len(more), err)
		}
		files = append(files, more...)
	}
	files = append(files, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
	for _, file := range files {
		code, blank, number := false, true, 0
		for line := range strings.Lines(read(t, file)) {
			number++
			text := strings.TrimSpace(line)
			indented := blank && strings.HasPrefix(line, "    ")
			blank = text == ""
			if strings.HasPrefix(text, "```") {
				code = !code
			}
			prose := !code && !indented && !strings.HasPrefix(text, "|") && !strings.HasPrefix(text, "![") && strings.Contains(text, " ")
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); prose && n > 100 {
				t.Errorf("%s:%d: %d characters: wrap at 100", file, number, n)
			}
		}
	}
}
