// Package fences reads the blocks of code in the pages of this repository.
//
// A block in README.md and docs/ says by the first word behind its fence what it is:
//
//	sh        commands, run by bash one after the other; each must succeed
//	console   commands behind "$ ", with what they print: see Step.Missing
//
// and text, yaml, json, nginx and srs what is no command. More words change what happens:
//
//	serve           the command is a relay; it runs until the next one, or the page's end
//	for="2s"        each command is interrupted after that time, if it still runs
//	exit="1"        each command ends with this code
//	skip="reason"   it is not run
//
// A fence without a word, or with one that is not here, is an error. So no command can stand
// in the pages that is neither run nor marked. The package e2e runs the commands.
//
// It is for tests only.
package fences

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Block is one block of code.
type Block struct {
	File   string
	Line   int
	Kind   string // sh, console or what it is instead of commands
	Skip   string // the reason, "" if it is to be run
	Serve  bool
	Exit   int
	During time.Duration // 0 for as long as it takes
	Text   []string
}

// String returns where the block is.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// HasCommands reports whether the block holds commands, run or skipped.
func (b Block) HasCommands() bool { return b.Kind == "sh" || b.Kind == "console" }

var attribute = regexp.MustCompile(`^\s*(\w+)(?:="([^"]*)")?`)

// parseFence reads what stands behind a fence.
func parseFence(info string) (f Block, err error) {
	f.Kind, info, _ = strings.Cut(info, " ")
	switch f.Kind {
	case "sh", "console", "text", "yaml", "json", "nginx", "srs":
	default:
		return f, fmt.Errorf("%q is not sh, console, text, yaml, json, nginx or srs", f.Kind)
	}
	for strings.TrimSpace(info) != "" {
		m := attribute.FindStringSubmatch(info)
		if m == nil {
			return f, fmt.Errorf("%q is no attribute", info)
		}
		info = info[len(m[0]):]
		switch name, value := m[1], m[2]; {
		case name == "serve" && value == "" && f.Kind == "sh":
			f.Serve = true
		case name == "skip" && strings.Contains(value, " "):
			f.Skip = value
		case name == "exit":
			if f.Exit, err = strconv.Atoi(value); err != nil {
				return f, err
			}
		case name == "for" && f.Kind != "text":
			if f.During, err = time.ParseDuration(value); err != nil {
				return f, err
			}
		default:
			return f, fmt.Errorf("%s=%q is no attribute of %s, or not a reason", name, value, f.Kind)
		}
	}
	return f, nil
}

// Read returns the blocks of a page.
func Read(file, page string) (found []Block, err error) {
	var open *Block
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
			f.File, f.Line = file, number
			open = &f
		case open != nil && text == "```":
			found, open = append(found, *open), nil
		case open != nil:
			open.Text = append(open.Text, strings.TrimPrefix(line, indent))
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open)
	}
	return found, nil
}

// Step is one command of a block, with the lines that it must print.
type Step struct {
	Command string
	Prints  []string
}

// Steps returns the commands of a block; a block of sh is one.
func (b Block) Steps() (all []Step, err error) {
	if b.Kind == "sh" {
		return []Step{{Command: strings.Join(b.Text, "\n")}}, nil
	}
	continues := false
	for _, line := range b.Text {
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			all = append(all, Step{Command: command})
		case len(all) == 0:
			return nil, fmt.Errorf("%s: %q stands before the first command", b, line)
		case continues:
			all[len(all)-1].Command += "\n" + line
		default:
			all[len(all)-1].Prints = append(all[len(all)-1].Prints, line)
			continue
		}
		continues = strings.HasSuffix(line, `\`)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no command behind $", b)
	}
	return all, nil
}

// Missing returns the first line that was to be printed and was not. Figures differ from
// run to run: of a line counts what stands before two blanks, unless it has a digit, and all
// of the head of a table, which is in capitals. "..." stands for anything.
func (s Step) Missing(out string) string {
	var printed []string
	for line := range strings.Lines(out) {
		printed = append(printed, words(line))
	}
	for _, line := range s.Prints {
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
