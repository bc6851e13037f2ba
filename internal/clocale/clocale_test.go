package clocale_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// germany makes a locale with decimal commas, outside of the system's own, and
// lets this process run in it.
func germany(t *testing.T) {
	t.Helper()
	localedef := need.Tool(t, "localedef")
	if _, err := os.Stat("/usr/share/i18n/locales/de_DE"); err != nil {
		need.Skip(t, "the sources of locales are not installed")
	}
	dir := t.TempDir()
	out, err := clocale.Command(localedef, "-i", "de_DE", "-f", "ISO-8859-1", filepath.Join(dir, "de_DE")).CombinedOutput()
	if err != nil {
		t.Fatalf("localedef: %v: %s", err, out)
	}
	t.Setenv("LOCPATH", dir)
	t.Setenv("LC_ALL", "de_DE")
	t.Setenv("LANGUAGE", "de")
}

// What a program prints must not depend on the operator's locale. bash's
// printf stands for all: it follows the locale and is everywhere.
func TestDecimalsHaveAPoint(t *testing.T) {
	germany(t)
	const half = `printf '%.1f\n' "$1" 2>/dev/null`
	own := clocale.Command("bash", "-c", half, "bash", "0,5")
	own.Env = os.Environ()
	if out, err := own.Output(); err != nil || strings.TrimSpace(string(out)) != "0,5" {
		t.Fatalf("the locale that is to be kept out is not in force: %q, %v", out, err)
	}
	for _, cmd := range []interface{ Output() ([]byte, error) }{
		clocale.Command("bash", "-c", half, "bash", "0.5"),
		clocale.CommandContext(t.Context(), "bash", "-c", half, "bash", "0.5"),
	} {
		if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != "0.5" {
			t.Errorf("%q, %v", out, err)
		}
	}
}

func TestEnviron(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("LANGUAGE", "de")
	env := clocale.Environ("X=1")
	count := 0
	for _, v := range env {
		if strings.HasPrefix(v, "LC_ALL=") || strings.HasPrefix(v, "LANGUAGE=") {
			count++
		}
	}
	if count != 1 || !slices.Contains(env, "LC_ALL=C") || env[len(env)-1] != "X=1" {
		t.Errorf("%v", env)
	}
}
