// Package golden reads what a test expects from a file. With -update it writes the file anew
// first, from what the code makes today.
//
// It is for tests only.
package golden

import (
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// File returns what a file has. present is what the code makes today; nil if the file is only
// to be read.
func File(t testing.TB, path string, present func() []byte) []byte {
	t.Helper()
	if *update && present != nil {
		if err := os.WriteFile(path, present(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Hex is File for bytes that the file has in hexadecimal.
func Hex(t testing.TB, path string, present func() []byte) []byte {
	t.Helper()
	var text func() []byte
	if present != nil {
		text = func() []byte { return []byte(hex.EncodeToString(present()) + "\n") }
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(File(t, path, text))))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
