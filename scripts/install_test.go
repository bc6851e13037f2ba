package scripts

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// make install lays out what a package has, and leaves settings alone that are
// there already.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	// It prints what it was asked for, as far as install.sh asks.
	binary := filepath.Join(t.TempDir(), "srtrelay")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	install := func(prefix string) {
		t.Helper()
		if out, err := clocale.Command("./install.sh", binary, dest, prefix).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	install("/usr/local")
	var got []string
	err := filepath.WalkDir(dest, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			got = append(got, info.Mode().String()[1:]+" "+strings.TrimPrefix(name, dest))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"rw-r--r-- /etc/srtrelay/relay.yaml",
		"rwxr-xr-x /usr/local/bin/srtrelay",
		"rw-r--r-- /usr/local/lib/sysctl.d/60-srtrelay.conf",
		"rw-r--r-- /usr/local/lib/systemd/system/srtrelay.service",
		"rw-r--r-- /usr/local/share/bash-completion/completions/srtrelay",
		"rw-r--r-- /usr/local/share/doc/srtrelay/LICENSE",
		"rw-r--r-- /usr/local/share/doc/srtrelay/README.md",
		"rw-r--r-- /usr/local/share/doc/srtrelay/changelog.md",
		"rw-r--r-- /usr/local/share/doc/srtrelay/examples/relay.yaml",
		"rw-r--r-- /usr/local/share/doc/srtrelay/examples/rules.yaml",
		"rw-r--r-- /usr/local/share/fish/vendor_completions.d/srtrelay.fish",
		"rw-r--r-- /usr/local/share/man/man1/srtrelay.1.gz",
		"rw-r--r-- /usr/local/share/zsh/site-functions/_srtrelay",
	}
	slices.Sort(got)
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
	if !slices.Equal(got, want) {
		t.Errorf("installed %s", strings.Join(got, "\n"))
	}

	own := filepath.Join(dest, "etc/srtrelay/relay.yaml")
	if err := os.WriteFile(own, []byte("shards: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	install("/usr")
	if text, err := os.ReadFile(own); err != nil || string(text) != "shards: 2\n" {
		t.Errorf("the settings that were there are now %q, %v", text, err)
	}
	unit, err := os.ReadFile(filepath.Join(dest, "usr/lib/systemd/system/srtrelay.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/bin/srtrelay ") {
		t.Errorf("the unit starts another binary, %v", err)
	}
}
