package handshake

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// secretText is a secret of a file.
var secretText = strings.Repeat("s3cret!", 6)

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path, wrong string
	}{
		{file("good", secretText+"\n", 0o600), ""},
		{file("group", secretText+"\n", 0o440), ""},
		{file("world", secretText+"\n", 0o644), "mode is 0644"},
		{file("written", secretText+"\n", 0o660), "mode is 0660"},
		{file("short", "short\n", 0o600), "line 1"},
		{file("empty", "", 0o600), "no secret"},
		{file("long", strings.Repeat("x", maxSecretFile+1), 0o600), "longer than"},
		{filepath.Join(dir, "missing"), "no such file"},
		{dir, "regular file"},
		{pipe, "regular file"},
	} {
		all, err := ReadSecrets(c.path)
		switch {
		case c.wrong == "" && (err != nil || len(all) != 1):
			t.Errorf("%s: %v", c.path, err)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), c.path)):
			t.Errorf("%s: %v, want %q", c.path, err, c.wrong)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the error quotes a secret: %v", c.path, err)
		}
	}
}
