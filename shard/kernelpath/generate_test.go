package kernelpath

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// The objects that are committed are those of the sources in bpf/. Nobody needs clang to
// build or to test the relay, so that its absence is no failure.
func TestObjectsAreOfTheSources(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the program")
	}
	_, noClang := exec.LookPath("clang-14")
	_, noHeaders := os.Stat("/usr/include/bpf/bpf_helpers.h")
	if noClang != nil || noHeaders != nil {
		t.Skip("clang-14 or libbpf-dev is not installed; `make generate` installs them")
	}
	text, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(text), "//go:generate ")
	args := strings.Fields(line)
	dir := t.TempDir()
	args = slices.Insert(args, slices.Index(args, "bpf2go")+1, "-output-dir", dir)
	if out, err := clocale.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "path_*"))
	if err != nil || len(made) != 4 {
		t.Fatalf("made %q (%v)", made, err)
	}
	for _, name := range made {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Base(name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what `make generate` makes of bpf/ (%v)", filepath.Base(name), err)
		}
	}
}
