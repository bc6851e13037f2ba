//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A block of code in README.md and docs/ says by the first word behind its fence what it is:
//
//	sh        commands, run by bash one after the other; each must succeed
//	console   commands behind "$ ", with what they print: see step.missing
//
// and text, yaml, json, nginx and srs what is no command. More words change what happens:
//
//	serve           the command is a relay; it runs until the next one, or the page's end
//	for="2s"        each command is interrupted after that time, if it still runs
//	exit="1"        each command ends with this code
//	skip="reason"   it is not run
//
// A fence without a word, or with one that is not here, fails the test. So no command can
// stand in the pages that is neither run nor marked.
type fence struct {
	file   string
	line   int
	kind   string
	skip   string
	serve  bool
	exit   int
	during time.Duration
	text   []string
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.file, f.line) }

// pages are the pages whose commands are run.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) < 10 {
		t.Fatal(docs, err)
	}
	decisions, err := filepath.Glob("../docs/adr/*.md")
	must(t, err)
	return slices.Concat([]string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md"}, docs, decisions)
}

var attribute = regexp.MustCompile(`^\s*(\w+)(?:="([^"]*)")?`)

// parseFence reads what stands behind a fence.
func parseFence(info string) (f fence, err error) {
	f.kind, info, _ = strings.Cut(info, " ")
	switch f.kind {
	case "sh", "console", "text", "yaml", "json", "nginx", "srs":
	default:
		return f, fmt.Errorf("%q is not sh, console, text, yaml, json, nginx or srs", f.kind)
	}
	for strings.TrimSpace(info) != "" {
		m := attribute.FindStringSubmatch(info)
		if m == nil {
			return f, fmt.Errorf("%q is no attribute", info)
		}
		info = info[len(m[0]):]
		switch name, value := m[1], m[2]; {
		case name == "serve" && value == "" && f.kind == "sh":
			f.serve = true
		case name == "skip" && strings.Contains(value, " "):
			f.skip = value
		case name == "exit":
			if f.exit, err = strconv.Atoi(value); err != nil {
				return f, err
			}
		case name == "for" && f.kind != "text":
			if f.during, err = time.ParseDuration(value); err != nil {
				return f, err
			}
		default:
			return f, fmt.Errorf("%s=%q is no attribute of %s, or not a reason", name, value, f.kind)
		}
	}
	return f, nil
}

// fences returns the blocks of a page.
func fences(file, page string) (found []fence, err error) {
	var open *fence
	indent, number := "", 0
	for line := range strings.Lines(page) {
		number++
		line = strings.TrimRight(line, "\n")
		text := strings.TrimLeft(line, " ")
		switch {
		case open == nil && strings.HasPrefix(text, "```"):
			indent = line[:len(line)-len(text)]
			f, err := parseFence(text[3:])
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, number, err)
			}
			f.file, f.line = file, number
			open = &f
		case open != nil && text == "```":
			found, open = append(found, *open), nil
		case open != nil:
			open.text = append(open.text, strings.TrimPrefix(line, indent))
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open)
	}
	return found, nil
}

// step is one command of a block, with the lines that it must print.
type step struct {
	command string
	prints  []string
}

// steps are the commands of a block.
func (f fence) steps() (all []step, err error) {
	if f.kind == "sh" {
		return []step{{command: strings.Join(f.text, "\n")}}, nil
	}
	continues := false
	for _, line := range f.text {
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			all = append(all, step{command: command})
		case len(all) == 0:
			return nil, fmt.Errorf("%s: %q stands before the first command", f, line)
		case continues:
			all[len(all)-1].command += "\n" + line
		default:
			all[len(all)-1].prints = append(all[len(all)-1].prints, line)
			continue
		}
		continues = strings.HasSuffix(line, `\`)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no command behind $", f)
	}
	return all, nil
}

// missing returns the first line that was to be printed and was not. Figures differ from
// run to run: of a line counts what stands before two blanks, unless it has a digit, and all
// of the head of a table, which is in capitals. "..." stands for anything.
func (s step) missing(out string) string {
	var printed []string
	for line := range strings.Lines(out) {
		printed = append(printed, words(line))
	}
	for _, line := range s.prints {
		want, _, _ := strings.Cut(line, "  ")
		if line == strings.ToUpper(line) {
			want = words(line)
		}
		if strings.ContainsAny(want, "0123456789") || strings.Trim(want, ". ") == "" {
			continue
		}
		if !slices.ContainsFunc(printed, func(p string) bool { return p == want || strings.HasPrefix(p, want+" ") }) {
			return line
		}
	}
	return ""
}

// words returns a text with one blank between words.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// command are the beginnings of a line that is a command.
var command = regexp.MustCompile(`^\s*(\$ |sudo |bin/srtrelay|srtrelay (-|[a-z])|make |curl |go (run|test)|systemctl |kubectl |helm )`)

// Every block says what it is, and those that say that they hold no command hold none.
func TestDocsMarkTheirCommands(t *testing.T) {
	ran, skipped := 0, 0
	for _, file := range pages(t) {
		page, err := os.ReadFile(file)
		must(t, err)
		found, err := fences(file, string(page))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, f := range found {
			switch f.kind {
			case "sh", "console":
				if _, err := f.steps(); err != nil {
					t.Error(err)
				}
				if f.skip == "" {
					ran++
				} else {
					skipped++
				}
			default:
				for _, line := range f.text {
					if command.MatchString(line) {
						t.Errorf("%s: %q is a command in a block of %s", f, line, f.kind)
					}
				}
			}
		}
		indented := regexp.MustCompile(`(?m)^    ` + strings.TrimPrefix(command.String(), `^\s*`))
		if line := indented.FindString(string(page)); line != "" {
			t.Errorf("%s: %q is a command without a fence", file, line)
		}
	}
	if ran < 15 || ran < skipped {
		t.Errorf("%d blocks run, %d skipped", ran, skipped)
	}
}

// Commands in running text and in tables are commands of the binary, with flags that it has.
func TestDocsNameRealCommands(t *testing.T) {
	span := regexp.MustCompile("`(?:bin/)?srtrelay ([a-z]+)([^`]*)`")
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	help := map[string]string{}
	seen := 0
	for _, file := range pages(t) {
		page, err := os.ReadFile(file)
		must(t, err)
		for _, m := range span.FindAllStringSubmatch(string(page), -1) {
			name := m[1]
			if _, known := help[name]; !known {
				if out, err := runShell(t, "", nil, binary+" help "+name, 0); err == nil {
					help[name] = out
				} else {
					t.Errorf("%s: %s: no such command", file, m[0])
					help[name] = ""
				}
			}
			for _, f := range flag.FindAllString(m[2], -1) {
				if !strings.Contains(help[name], f+" ") && !strings.Contains(help[name], f+"\n") {
					t.Errorf("%s: %s: %s has no %s", file, m[0], name, f)
				}
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands", seen)
	}
}

// What make is asked for, in text or in a block, is a target of the Makefile.
func TestDocsNameRealTargets(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	must(t, err)
	asked := regexp.MustCompile("(?m)(?:`|^(?:\\$ )?)make ([a-z][a-z0-9-]*)")
	seen := 0
	for _, file := range pages(t) {
		page, err := os.ReadFile(file)
		must(t, err)
		for _, m := range asked.FindAllStringSubmatch(string(page), -1) {
			seen++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## `).Match(makefile) {
				t.Errorf("%s: make %s: no such target", file, m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d targets", seen)
	}
}

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
		got, err := fences("p.md", page)
		if text := fmt.Sprint(err); (want == "") != (err == nil) || !strings.Contains(text, want) && want != "" {
			t.Errorf("%q: %v, want %s", page, err, want)
		}
		if want == "" && (len(got) != 1 || !got[0].serve || !slices.Equal(got[0].text, []string{"x", "  y"})) {
			t.Errorf("%+v", got)
		}
	}
	f := fence{kind: "console", text: []string{"$ a \\", "  b", "one  line", "...", "2 lines", "A  B", "$ c"}}
	got, err := f.steps()
	if err != nil || len(got) != 2 || got[0].command != "a \\\n  b" || got[1].command != "c" {
		t.Errorf("%q %v", got, err)
	}
	if got[0].missing("one other\nA   B\n") != "" || got[0].missing("one\nA") != "A  B" || got[0].missing("x one\nA B") != "one  line" {
		t.Error("lines that must be printed are not looked for")
	}
}
