//go:build linux

package load_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/bench/load"
	"srtrelay/bench/sink"
	"srtrelay/bench/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for an answer; it is never a measure.
const patience = 30 * time.Second

// end is a load or a sink in this process, driven as the suite drives its own.
type end struct {
	t       *testing.T
	in      *io.PipeWriter
	answers chan tally.Report
	err     chan error
}

func begin(t *testing.T, run func(context.Context, io.Reader, io.Writer) error) *end {
	t.Helper()
	in, commands := io.Pipe()
	lines, out := io.Pipe()
	e := &end{t: t, in: commands, answers: make(chan tally.Report, 16), err: make(chan error, 1)}
	go func() {
		err := run(context.WithoutCancel(t.Context()), in, out)
		_ = in.Close()
		_ = out.CloseWithError(io.EOF)
		e.err <- err
	}()
	go func() {
		defer close(e.answers)
		for d := json.NewDecoder(bufio.NewReader(lines)); ; {
			var r tally.Report
			if d.Decode(&r) != nil {
				return
			}
			e.answers <- r
		}
	}()
	t.Cleanup(func() { _ = commands.Close() })
	return e
}

// answer reads the next one.
func (e *end) answer() tally.Report {
	e.t.Helper()
	select {
	case r, open := <-e.answers:
		if !open {
			e.t.Fatalf("ended: %v", <-e.err)
		}
		return r
	case <-time.After(patience):
		e.t.Fatal("no answer")
	}
	return tally.Report{}
}

func (e *end) tell(command string) {
	e.t.Helper()
	if _, err := io.WriteString(e.in, command+"\n"); err != nil {
		e.t.Fatalf("%s: %v", command, err)
	}
}

func (e *end) ask(command string) tally.Report {
	e.t.Helper()
	e.tell(command)
	return e.answer()
}

func (e *end) quit() {
	e.t.Helper()
	e.ask("quit")
	if err := <-e.err; err != nil {
		e.t.Errorf("ended with %v", err)
	}
}

// startSink returns a sink and its addresses.
func startSink(t *testing.T, args ...string) (*end, []string) {
	t.Helper()
	c := parse(t, sink.Flags, append([]string{"-listen", "127.0.0.1:0", "-count", "3"}, args...))
	e := begin(t, func(ctx context.Context, in io.Reader, out io.Writer) error { return sink.Run(ctx, *c, in, out) })
	r := e.answer()
	if len(r.Listen) != 3 {
		t.Fatalf("listens on %v", r.Listen)
	}
	return e, r.Listen
}

func startLoad(t *testing.T, targets []string, args ...string) *end {
	t.Helper()
	c := parse(t, load.Flags, append([]string{"-target", strings.Join(targets, ",")}, args...))
	return begin(t, func(ctx context.Context, in io.Reader, out io.Writer) error { return load.Run(ctx, *c, in, out) })
}

func parse[C any](t *testing.T, declare func(*flag.FlagSet) *C, args []string) *C {
	t.Helper()
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	c := declare(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

// steady runs traffic until both ends have received some, and stops it.
func steady(t *testing.T, atSink, atLoad *end) (s, l tally.Report) {
	t.Helper()
	atSink.ask("start")
	atLoad.ask("start")
	atSink.ask("mark")
	atLoad.ask("mark")
	for range 1000 {
		if r := atSink.ask("look"); r.Received.Data > 300 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	atLoad.tell("stop")
	atSink.tell("stop")
	return atSink.answer(), atLoad.answer()
}

func checkNothingLost(t *testing.T, s, l tally.Report) {
	t.Helper()
	if s.Received.Data != l.Sent.Data || l.Received.Data != s.Sent.Data {
		t.Errorf("data: load sent %d, sink received %d; sink sent %d, load received %d", l.Sent.Data, s.Received.Data, s.Sent.Data, l.Received.Data)
	}
	for _, r := range []tally.Report{s, l} {
		if bad := r.Lost + r.Duplicated + r.Reordered + r.Stale + r.Unknown + r.Foreign + r.Unsent; bad != 0 {
			t.Errorf("%s: %+v", r.Role, r)
		}
		if r.Latency.Count > 0 && r.Latency.P50 <= 0 || r.Latency.Max > 60e6 {
			t.Errorf("%s: latency %+v", r.Role, r.Latency)
		}
	}
	if s.Sent.ACK != l.Received.ACK || l.Sent.ACKACK != s.Received.ACKACK || l.Received.ACK != l.Sent.ACKACK {
		t.Errorf("sink sent %d ACKs, load received %d and answered %d, of which %d came", s.Sent.ACK, l.Received.ACK, l.Sent.ACKACK, s.Received.ACKACK)
	}
	if l.Sent.ACK != s.Received.ACK || s.Sent.ACKACK != l.Received.ACKACK || s.Received.ACK != s.Sent.ACKACK {
		t.Errorf("load sent %d ACKs, sink received %d and answered %d, of which %d came", l.Sent.ACK, s.Received.ACK, s.Sent.ACKACK, l.Received.ACKACK)
	}
}

func TestSteady(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		data bool // towards the callers as well
	}{
		{"publishers", []string{"-sessions", "12", "-rate", "3000"}, false},
		{"players too", []string{"-sessions", "12", "-rate", "3000", "-players", "0.5"}, true},
		{"trains", []string{"-sessions", "12", "-rate", "3000", "-train", "16"}, false},
		{"shared ports", []string{"-sessions", "60", "-ports", "7", "-rate", "3000", "-players", "0.5"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			atSink, addresses := startSink(t)
			atLoad := startLoad(t, addresses, tt.args...)
			ready := atLoad.answer()
			if fmt.Sprint(ready.Sessions) != tt.args[1] || ready.Handshakes.Failed != 0 || ready.Handshakes.Connect.Count == 0 {
				t.Fatalf("ready: %+v", ready)
			}
			s, l := steady(t, atSink, atLoad)
			checkNothingLost(t, s, l)
			// One ACK per six packets of a session, whose first and last may be
			// short of six.
			sessions := uint64(ready.Sessions)
			if most := (s.Received.Data + 5*sessions) / 6; s.Sent.ACK > most || s.Sent.ACK+sessions < s.Received.Data/6 || s.Sent.ACK == 0 {
				t.Errorf("%d ACKs for %d data", s.Sent.ACK, s.Received.Data)
			}
			if (l.Received.Data > 0) != tt.data {
				t.Errorf("%d data towards callers", l.Received.Data)
			}
			if l.Window.Seconds <= 0 || l.Lag.Count == 0 || s.Latency.Count == 0 || s.Histogram == "" {
				t.Errorf("window %+v, lag %+v, latency %+v", l.Window, l.Lag, s.Latency)
			}
			atLoad.quit()
			// Every caller has said good-bye.
			for s.Sessions > 0 {
				s = atSink.ask("look")
			}
			atSink.quit()
		})
	}
}

// Idle sessions keep each other alive from both sides, at the load's interval.
func TestIdle(t *testing.T) {
	atSink, addresses := startSink(t, "-keepalive", "1h", "-idle-timeout", "1ms")
	atLoad := startLoad(t, addresses, "-sessions", "50", "-mode", "idle", "-keepalive", "20ms")
	atLoad.answer()
	atSink.ask("start")
	atLoad.ask("start")
	for range 1000 {
		s, l := atSink.ask("look"), atLoad.ask("look")
		if s.Received.Keepalive > 200 && l.Received.Keepalive > 200 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	s, l := atSink.ask("stop"), atLoad.ask("stop")
	if s.Received.Keepalive <= 200 || l.Received.Keepalive <= 200 || l.Sent.Data+s.Sent.Data != 0 {
		t.Errorf("keepalives: %d at the sink, %d at the load", s.Received.Keepalive, l.Received.Keepalive)
	}
	atLoad.quit()
	atSink.quit()
}

func TestConnects(t *testing.T) {
	for _, rate := range []string{"0", "500"} {
		atSink, addresses := startSink(t)
		atLoad := startLoad(t, addresses, "-mode", "connects", "-sessions", "20", "-rate", rate)
		atLoad.answer()
		atSink.ask("start")
		atLoad.ask("start")
		atLoad.ask("mark")
		for range 1000 {
			if r := atSink.ask("look"); r.Handshakes.Completed > 200 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		l := atLoad.ask("stop")
		h := l.Handshakes
		if h.Failed != 0 || h.Completed != h.Attempted || h.Completed < 100 || h.PerSecond <= 0 || h.Connect.Count == 0 {
			t.Errorf("rate %s: %+v", rate, h)
		}
		s := atSink.ask("stop")
		if s.Sessions != 0 || s.Handshakes.Completed != h.Completed {
			t.Errorf("rate %s: %d sessions left, %d accepted, %d connected", rate, s.Sessions, s.Handshakes.Completed, h.Completed)
		}
		atLoad.quit()
		atSink.quit()
	}
}

// A flood from ports of its own opens no session.
func TestFlood(t *testing.T) {
	atSink, addresses := startSink(t)
	atLoad := startLoad(t, addresses, "-mode", "flood", "-rate", "2000", "-raw=false")
	atLoad.answer()
	atLoad.ask("start")
	for range 1000 {
		if r := atSink.ask("look"); r.Handshakes.Failed > 100 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	l, s := atLoad.ask("stop"), atSink.ask("stop")
	if l.Bogus < 100 || s.Handshakes.Failed < 100 || s.Sessions != 0 || s.Sent.Other != 0 {
		t.Errorf("%d bogus sent, %d refused, %d sessions, %d answers", l.Bogus, s.Handshakes.Failed, s.Sessions, s.Sent.Other)
	}
	atLoad.quit()
	atSink.quit()
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                                "load: -target: missing, give the address of a relay",
		"-target x:1 -mode fast":          `load: -mode: "fast": not one of steady, idle, connects, flood`,
		"-target 127.0.0.1":               "load: -target: resolve 127.0.0.1: address 127.0.0.1: missing port in address",
		"-target 127.0.0.1:0":             `load: -target: "127.0.0.1:0": host or port missing`,
		"-target x:1 -sessions 0":         "load: -sessions: 0: not from 1 to 4194304",
		"-target x:1 -players 1.5":        "load: -players: 1.5: not a share from 0 to 1",
		"-target x:1 -rate -1":            "load: -rate: -1: not from 0 to 1e8",
		"-target x:1 -rate NaN":           "load: -rate: NaN: not from 0 to 1e8",
		"-target x:1 -train 50":           "load: -train: 50: not from 1 to 49",
		"-target x:1 -train 2 -frames":    "load: -train: not with -frames",
		"-target x:1 -batch 0":            "load: -batch: 0: not from 1 to 8",
		"-target x:1 -batch 9":            "load: -batch: 9: not from 1 to 8",
		"-target x:1 -tick 0s":            "load: -tick: 0s: must be positive",
		"-target x:1 -ports 70000":        "load: -ports: 70000: not from 1 to 60000",
		"-target 127.0.0.1:1 -local here": `load: -local: ParseAddr("here"): unable to parse IP`,
	} {
		c := parse(t, load.Flags, strings.Fields(args))
		err := load.Run(t.Context(), *c, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "load: ")) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	for args, want := range map[string]string{
		"-listen 127.0.0.1":                     "sink: -listen",
		"-count 0":                              "sink: -count",
		"-listen 127.0.0.1:65534 -count 3":      "sink: -count",
		"-ack-every 256":                        "sink: -ack-every",
		"-keepalive 0s":                         "sink: -keepalive",
		"-listen 127.0.0.1:0 -cpu 4000":         "pin thread to CPU 4000",
		"-listen 192.0.2.1:1 -count 1 -cpu 999": "bind to 192.0.2.1:1",
	} {
		c := parse(t, sink.Flags, strings.Fields(args))
		err := sink.Run(t.Context(), *c, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
