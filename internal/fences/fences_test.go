package fences

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFences(t *testing.T) {
	for page, want := range map[string]string{
		"```\nx\n```\n":                         `p.md:1: "" is not sh`,
		"```bash\n```\n":                        `p.md:1: "bash" is not sh`,
		"\n```sh skip=\"\"\n```\n":              "p.md:2: skip=\"\" is no attribute of sh, or not a reason",
		"```sh serv\n```\n":                     `p.md:1: serv="" is no attribute of sh`,
		"```sh\nx\n":                            "p.md:1: the block does not end",
		"```sh for=\"2\"\n```\n":                "p.md:1: time: missing unit",
		"- a\n  ```sh serve\n  x\n    y\n  ```": "",
	} {
		got, err := Read("p.md", page)
		if text := fmt.Sprint(err); (want == "") != (err == nil) || !strings.Contains(text, want) && want != "" {
			t.Errorf("%q: %v, want %s", page, err, want)
		}
		if want == "" && (len(got) != 1 || !got[0].Serve || !slices.Equal(got[0].Text, []string{"x", "  y"})) {
			t.Errorf("%+v", got)
		}
	}
	b := Block{Kind: "console", Text: []string{"$ a \\", "  b", "one  line", "...", "2 lines", "A  B", "$ c"}}
	got, err := b.Steps()
	if err != nil || len(got) != 2 || got[0].Command != "a \\\n  b" || got[1].Command != "c" {
		t.Errorf("%q %v", got, err)
	}
	if got[0].Missing("one other\nA   B\n") != "" || got[0].Missing("one\nA") != "A  B" || got[0].Missing("x one\nA B") != "one  line" {
		t.Error("lines that must be printed are not looked for")
	}
}
