package cli

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"srtrelay/internal/clocale"
)

// coloured finds a colour of the sixteen.
var coloured = regexp.MustCompile(`\x1b\[(\d+;)*[39][0-7](;\d+)*m`)

// seen waits for a text on a terminal; what it reads it keeps.
func seen(t *testing.T, from <-chan []byte, kept *bytes.Buffer, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for start := kept.Len(); ; {
		if strings.Contains(kept.String()[start:], text) {
			return
		}
		select {
		case more, ok := <-from:
			if !ok {
				t.Fatalf("no %q before the end:\n%q", text, kept)
			}
			kept.Write(more)
		case <-late:
			t.Fatalf("no %q:\n%q", text, kept)
		}
	}
}

// readAll reads a terminal until its other end is closed.
func readAll(terminal io.Reader) <-chan []byte {
	output := make(chan []byte)
	go func() {
		defer close(output)
		for {
			buffer := make([]byte, 4096)
			n, err := terminal.Read(buffer)
			if n > 0 {
				output <- buffer[:n]
			}
			if err != nil {
				return // EIO: the other end is closed
			}
		}
	}()
	return output
}

// The live view on a real terminal of 80x24: it shows the streams, opens one
// and a session, and leaves the terminal as it was.
func TestTopOnTerminal(t *testing.T) {
	r := newFakeRelay(t)
	for _, noColor := range []bool{false, true} {
		command := clocale.Command(os.Args[0], "top", "--api", r.Listener.Addr().String())
		command.Env = commandEnv("TERM=xterm-256color")
		if noColor {
			command.Env = append(command.Env, "NO_COLOR=1")
		}
		terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: 80})
		if err != nil {
			t.Skipf("no terminal to be had: %v", err)
		}
		output := readAll(terminal)
		var kept bytes.Buffer
		seen(t, output, &kept, "live/football")
		for _, step := range []struct{ keys, text string }{{"\r", "0-17-42"}, {"\r", "measured"}, {"G", "capacity"}} {
			if _, err := io.WriteString(terminal, step.keys); err != nil {
				t.Fatal(err)
			}
			seen(t, output, &kept, step.text)
		}
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 50, Cols: 120}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(terminal, "q"); err != nil {
			t.Fatal(err)
		}
		seen(t, output, &kept, "\x1b[?1049l") // the alternate screen is left
		for more := range output {
			kept.Write(more)
		}
		if err := command.Wait(); err != nil {
			t.Errorf("%v\n%q", err, kept.String())
		}
		_ = terminal.Close()
		if colored := coloured.MatchString(kept.String()); colored == noColor {
			t.Errorf("NO_COLOR %v, colours %v\n%q", noColor, colored, kept.String())
		}
	}
}

func TestTopNeedsTerminal(t *testing.T) {
	command := clocale.Command(os.Args[0], "top")
	command.Env = commandEnv()
	out, err := command.CombinedOutput()
	if err == nil || command.ProcessState.ExitCode() != exitCannotStart || bytes.Count(out, []byte("\n")) != 1 || !bytes.Contains(out, []byte("must be a terminal")) {
		t.Errorf("%v: %s", err, out)
	}
}
