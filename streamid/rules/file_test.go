package rules

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// watched is a file of rules whose looks the test makes itself, as Watch would.
type watched struct {
	t        *testing.T
	file     *File
	name     string
	outcomes []error
}

func watch(t *testing.T, text string) *watched {
	t.Helper()
	w := &watched{t: t, name: filepath.Join(t.TempDir(), "rules.yaml")}
	w.write(text)
	var err error
	w.file, err = Open(w.name, strict)
	w.must(err)
	return w
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) write(text string) {
	w.t.Helper()
	w.must(os.WriteFile(w.name, []byte(text), 0o600))
}

// look does what a tick does, n times.
func (w *watched) look(n int) {
	for range n {
		w.file.Poll(func(err error) { w.outcomes = append(w.outcomes, err) })
	}
}

// quiet wants no attempt.
func (w *watched) quiet() {
	w.t.Helper()
	if len(w.outcomes) > 0 {
		w.t.Fatalf("reloaded: %v", w.outcomes)
	}
}

// outcome wants one attempt, with an error that begins so ("" for none), and
// these rules in force.
func (w *watched) outcome(want, rule string) {
	w.t.Helper()
	if len(w.outcomes) != 1 {
		w.t.Fatalf("%d attempts, want 1: %v", len(w.outcomes), w.outcomes)
	}
	err := w.outcomes[0]
	w.outcomes = nil
	if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), "rules: "+w.name+want)) {
		w.t.Fatalf("outcome %v, want %q", err, want)
	}
	w.inForce(rule)
}

func (w *watched) inForce(rule string) {
	w.t.Helper()
	if got := w.file.Live().Set().Apply(Request{}).StreamID; got != rule {
		w.t.Fatalf("in force: %q, want %q", got, rule)
	}
}

func TestReloadOnChange(t *testing.T) {
	w := watch(t, "default: one")
	w.inForce("one")
	w.look(4)
	w.quiet()
	w.write("default: second")
	w.look(1)
	w.quiet()
	w.look(1)
	w.outcome("", "second")
	w.look(4)
	w.quiet()
}

// A file that changes from look to look is being written.
func TestHalfWrittenFileIsNotRead(t *testing.T) {
	w := watch(t, "default: one")
	for _, text := range []string{"default: tw", "default: two", "default: two\nvhosts: [a", "default: two\nvhosts: [a.com]"} {
		w.write(text)
		w.look(1)
		w.quiet()
	}
	w.look(1)
	w.outcome("", "two")
}

func TestBadFileKeepsTheRules(t *testing.T) {
	w := watch(t, "default: one")
	w.write("vhosts: [a.com]\ndefault: bad")
	w.look(2)
	w.outcome(`:2: key "default": "bad": SRS would refuse it`, "one")
	w.look(4)
	w.quiet() // said once
	w.write("default: three")
	w.look(2)
	w.outcome("", "three")
}

// The bug: a file that could not be read was not tried again when it could,
// because permissions leave no trace in what is compared.
func TestUnreadableFileIsTriedAgain(t *testing.T) {
	w := watch(t, "default: one")
	w.must(os.Remove(w.name))
	w.must(os.Symlink("/proc/self/mem", w.name)) // a regular file that fails to be read, by root too
	w.look(2)
	w.outcome(": ", "one")
	w.look(8)
	w.quiet() // said once
	if !w.file.gone {
		t.Error("it would not be tried again")
	}
	w.must(os.Remove(w.name))
	w.write("default: two")
	w.look(2)
	w.outcome("", "two")
}

func TestRemovedFileKeepsTheRules(t *testing.T) {
	w := watch(t, "default: one")
	w.must(os.Rename(w.name, w.name+".away"))
	w.look(2)
	w.outcome(": no such file or directory", "one")
	w.look(4)
	w.quiet()
	w.must(os.Rename(w.name+".away", w.name)) // as it was: the operator is told all the same
	w.look(2)
	w.outcome("", "one")
	w.look(4)
	w.quiet()
}

// Editors and configuration tools put another file in the place of the first,
// or turn a symbolic link; the new one may have the old one's size and time.
func TestReplacedFile(t *testing.T) {
	w := watch(t, "default: one")
	before, err := os.Stat(w.name)
	w.must(err)
	other := w.name + ".new"
	w.must(os.WriteFile(other, []byte("default: two"), 0o600))
	w.must(os.Chtimes(other, before.ModTime(), before.ModTime()))
	w.must(os.Rename(other, w.name))
	w.look(2)
	w.outcome("", "two")

	w.must(os.WriteFile(other, []byte("default: six"), 0o600))
	w.must(os.Symlink(other, w.name+".link"))
	w.must(os.Rename(w.name+".link", w.name))
	w.look(2)
	w.outcome("", "six")
}

// Whatever has come to the name instead leaves the rules in force.
func TestNameOfSomethingElse(t *testing.T) {
	w := watch(t, "default: one")
	w.must(os.Remove(w.name))
	w.must(os.Mkdir(w.name, 0o700))
	w.look(2)
	w.outcome(": not a regular file", "one")
	w.must(os.Remove(w.name))
	w.write("default: four")
	w.look(2)
	w.outcome("", "four")
}

// A file that takes the place of another publishes where that one did.
func TestPublishIn(t *testing.T) {
	w, other := watch(t, "default: one"), watch(t, "default: two")
	live := w.file.Live()
	other.file.PublishIn(live)
	if got := live.Set().Apply(Request{}).StreamID; got != "two" {
		t.Fatalf("in force: %q", got)
	}
	other.write("default: three")
	other.look(2)
	other.outcome("", "three")
	w.inForce("three")
}

func TestOpenRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rules.yaml")
	if _, err := Open(name, strict); err == nil || err.Error() != "rules: "+name+": no such file or directory" {
		t.Errorf("missing: %v", err)
	}
	// A pipe would hold the start up for ever.
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, strict); err == nil || err.Error() != "rules: "+name+": not a regular file" {
		t.Errorf("pipe: %v", err)
	}
}
