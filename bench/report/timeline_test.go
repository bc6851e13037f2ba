package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a timeline is given is in all of its files, and harmless in the page.
func TestTimeline(t *testing.T) {
	line := Timeline{
		Title: "An hour", Subtitle: "of <everything>", Intro: "at once",
		Verdicts: []Verdict{AtMost("soak", "lost", 0, 0), AtMost("soak", "growth", 9, 8)},
		Plots:    []Plot{{Title: "Memory", X: "minutes", Y: "MiB", Lines: []Line{{Name: "RSS", Points: [][2]float64{{0, 70}, {1, 80}}}}}},
		Notes:    []string{"a note"}, Facts: [][2]string{{"seed", "7"}},
	}
	dir := t.TempDir()
	if err := line.Write(dir, "soak", map[string]int{"seed": 7}); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"soak.md":   {"# An hour", "| PASS | soak | lost | 0 | <= 0 |", "| FAIL | soak | growth | 9 | <= 8 |", "- a note", "| seed | 7 |"},
		"soak.html": {"<h1>An hour</h1>", "of &lt;everything&gt;", `class="pass"`, `class="fail"`, "<polyline class=\"line1\"", "a note", "--c1"},
		"soak.json": {`"seed": 7`},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q:\n%s", name, want, text)
			}
		}
	}
	if text := string(mustRead(t, filepath.Join(dir, "soak.html"))); strings.Contains(text, "<circle") {
		t.Error("the points of a long line are marked one by one")
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
