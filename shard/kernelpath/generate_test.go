package kernelpath

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// The objects in the repository are those of the source. Where clang is installed ("make
// generate" installs it) the program is compiled again.
func TestObjectsAreOfThisSource(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14", "/usr/include/bpf/bpf_helpers.h"} {
		if _, err := exec.LookPath(tool); err != nil && !exists(tool) {
			t.Skipf("%s is not installed", tool)
		}
	}
	source, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(source), "//go:generate ")
	args := strings.Fields(command)
	dir := t.TempDir()
	c := clocale.Command(args[0], append([]string{"tool", "bpf2go", "-output-dir", dir}, args[3:]...)...)
	c.Env = clocale.Environ("GOPACKAGE=kernelpath")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"path_bpfel.o", "path_bpfeb.o", "path_bpfel.go", "path_bpfeb.go"} {
		now, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(now, kept) {
			t.Errorf("%s is not of this source: make generate", name)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
