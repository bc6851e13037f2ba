package need

import (
	"strings"
	"testing"
)

// witness is a test that notes how it would have ended.
type witness struct {
	testing.TB
	end string
}

func (*witness) Helper() {}

func (w *witness) Skip(args ...any) {
	w.end = "skipped: " + args[0].(string)
	panic(w)
}

func (w *witness) Fatalf(format string, args ...any) {
	w.end = "failed: " + args[0].(string)
	panic(w)
}

// outcome runs fn as a test would run, which ends with its Skip or Fatalf.
func outcome(t *testing.T, fn func(testing.TB)) string {
	w := &witness{TB: t, end: "ran"}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(w) {
				panic(p)
			}
		}()
		fn(w)
	}()
	return w.end
}

func TestWhatIsMissingSkipsOrFails(t *testing.T) {
	missing := func(t testing.TB) { Tool(t, "no-such-program") }
	present := func(t testing.TB) {
		if path := Tool(t, "sh"); !strings.HasSuffix(path, "/sh") {
			t.Errorf("sh is at %q", path)
		}
	}
	for _, c := range []struct{ all, want string }{
		{"", "skipped: no-such-program is not installed"},
		{"1", "failed: no-such-program is not installed"},
	} {
		t.Setenv("SRTRELAY_REQUIRE_ALL", c.all)
		if got := outcome(t, missing); !strings.HasPrefix(got, c.want) {
			t.Errorf("SRTRELAY_REQUIRE_ALL=%q: %s", c.all, got)
		}
		if got := outcome(t, present); got != "ran" {
			t.Errorf("a program that is there: %s", got)
		}
	}
}
