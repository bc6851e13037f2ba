//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/cases.md has a row for every case, and names only tests that there are.
func TestTableOfCases(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/cases.md")
	must(t, err)
	table := string(b)
	for n := 1; n <= 37; n++ {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.*$`, n)).FindString(table)
		if want := fmt.Sprintf("`TestCase%02d", n); row == "" || !strings.Contains(row, want) {
			t.Errorf("case %d: no row with its test: %q", n, row)
		}
	}
	names := regexp.MustCompile("`([a-z/]+\\.)?(Test\\w+)`").FindAllStringSubmatch(table, -1)
	for _, name := range names {
		dir := "."
		if name[1] != "" {
			dir = filepath.Join("..", strings.TrimSuffix(name[1], "."))
		}
		if !declares(t, dir, name[2]) {
			t.Errorf("%s names no test", name[0])
		}
	}
}

// declares reports whether a package has this test.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		if strings.Contains(string(b), "func "+name+"(") {
			return true
		}
	}
	return false
}
