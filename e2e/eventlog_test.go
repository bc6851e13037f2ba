//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// kindsIn returns the kinds of the events in a file, by stream.
func kindsIn(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		var e answer.Event
		must(t, json.Unmarshal([]byte(line), &e))
		all[e.Stream] += e.Kind + " "
	}
	return all
}

// The event log has every event, also the last ones of a relay that stops.
func TestEventLog(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	file := filepath.Join(t.TempDir(), "events.json")
	r := startRelay(t, backendAt(l.Addr()), "--event-log", file)
	ended := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	must(t, ended.SendShutdown())
	r.awaitEmpty()
	mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/y,m=publish"})
	r.signal(syscall.SIGTERM)
	<-r.done
	kinds := kindsIn(t, file)
	for _, stream := range []string{"x", "y"} {
		if got := kinds["__defaultVhost__/live/"+stream]; got != "session-begun session-ended " {
			t.Errorf("%s: %s", stream, got)
		}
	}
	refuseToStart(t, "--event-log: open the event log", "--listen=127.0.0.1:0", "--api=127.0.0.1:0", "--event-log", filepath.Join(file, "x"))
}

// Neither a full disk nor a reader that never reads holds up a stream, or the end.
func TestEventLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer reader.Close()
	for _, file := range []string{"/dev/full", pipe} {
		l := startMirror(t)
		r := startRelay(t, backendAt(l.Addr()), "--event-log", file, "--max-handshakes-per-source", "8192")
		f := keepFlowing(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/flow,m=publish"}))
		for range 400 { // 64 KiB fill a pipe
			s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
			must(t, s.SendShutdown())
		}
		f.finish(l)
		if file == "/dev/full" {
			if n := len(r.log("event log cannot be written, its events are lost")); n != 1 {
				t.Errorf("the log says %d times that the disk is full", n)
			}
		}
		r.signal(syscall.SIGTERM)
		<-r.done
	}
}
