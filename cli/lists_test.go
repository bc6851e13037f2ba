package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"

	"srtrelay/internal/clocale"
)

// lists are the commands that print a table.
var lists = []string{"streams", "sessions", "backends", "shards"}

func widest(text string) int {
	width := 0
	for line := range strings.Lines(text) {
		width = max(width, ansi.StringWidth(strings.TrimRight(line, "\r\n")))
	}
	return width
}

// The bug: a table of streams was 170 columns wide, and folded on most terminals.
func TestListsFitEightyColumns(t *testing.T) {
	r := newFakeRelay(t)
	for _, list := range lists {
		run := func(flags ...string) string {
			s, stdout, stderr, _ := testShell(nil)
			if code := s.Run(append([]string{list, "--api", r.Listener.Addr().String()}, flags...)); code != exitClean {
				t.Fatalf("%s %q: exit %d, %s", list, flags, code, stderr)
			}
			return stdout.String()
		}
		if text := run(); widest(text) > 80 || strings.Contains(text, "\x1b") {
			t.Errorf("%s: %d columns:\n%s", list, widest(text), text)
		}
		if text := run("--wide"); widest(text) <= 80 && list != "backends" && list != "shards" {
			t.Errorf("%s --wide leaves something out:\n%s", list, text)
		}
	}
	s, stdout, _, _ := testShell(nil)
	s.Run([]string{"streams", "--wide", "--api", r.Listener.Addr().String()})
	if !strings.Contains(stdout.String(), "\n__defaultVhost__/live/football ") || !strings.Contains(stdout.String(), "RETRANSMITTED") {
		t.Errorf("--wide: %s", stdout)
	}
}

// On a terminal a table fits its width, and has colours unless NO_COLOR is set.
func TestListsOnTerminal(t *testing.T) {
	r := newFakeRelay(t)
	for _, c := range []struct {
		columns uint16
		env     string
		colored bool
	}{{100, "", true}, {60, "", true}, {100, "NO_COLOR=1", false}, {100, "TERM=dumb", false}} {
		command := clocale.Command(os.Args[0], "streams", "--api", r.Listener.Addr().String())
		command.Env = commandEnv("TERM=xterm-256color", c.env)
		terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: c.columns})
		if err != nil {
			t.Skipf("no terminal to be had: %v", err)
		}
		var text strings.Builder
		for part := range readAll(terminal) {
			text.Write(part)
		}
		if err := command.Wait(); err != nil {
			t.Fatalf("%v: %s", err, text.String())
		}
		_ = terminal.Close()
		if got := coloured.MatchString(text.String()); got != c.colored {
			t.Errorf("%+v: colours %v:\n%q", c, got, text.String())
		}
		if n := widest(text.String()); n > int(c.columns) || !strings.Contains(text.String(), "\nlive/football ") {
			t.Errorf("%+v: %d columns:\n%s", c, n, text.String())
		}
	}
}
