//go:build linux

package live

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/netip"
	"testing"
	"time"
)

// driven is a server that a test drives.
type driven struct {
	t       *testing.T
	in      *io.PipeWriter
	answers *json.Decoder
	addr    netip.AddrPort
}

func startServer(t *testing.T, number int) *driven {
	t.Helper()
	c := Flags(flag.NewFlagSet("server", flag.ContinueOnError))
	c.Listen, c.Number = "127.0.0.1:0", number
	in, commands := io.Pipe()
	lines, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), *c, in, out) }()
	d := &driven{t: t, in: commands, answers: json.NewDecoder(lines)}
	d.addr = netip.MustParseAddrPort(d.read().Listen)
	t.Cleanup(func() {
		_ = commands.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *driven) read() (r Report) {
	d.t.Helper()
	if err := d.answers.Decode(&r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *driven) ask(command string) Report {
	d.t.Helper()
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		d.t.Fatal(err)
	}
	return d.read()
}

func startCallers(t *testing.T, target netip.AddrPort, patience time.Duration) *Callers {
	t.Helper()
	c, err := NewCallers(CallersConfig{Target: target, Local: netip.MustParseAddr("127.0.0.1"), Ports: 16, Seed: 1, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// until waits for what nothing announces.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Two ledgers of a session tell the same story, and what short sessions carry
// is complete.
func TestLedgersAgree(t *testing.T) {
	s := startServer(t, 7)
	c := startCallers(t, s.addr, 20*time.Second)
	c.Keep(20, Spec{Prefix: "live/s", Rate: 100})
	c.Churn(50, Spec{Prefix: "live/c", Rate: 200, Count: 20})
	var ended []Ledger
	until(t, "short sessions", func() bool { return c.Counts().Ended[Planned] >= 50 })
	c.Churn(0, Spec{})
	until(t, "short sessions ended", func() bool { return c.Counts().Short == 0 })
	c.Silence(true)
	s.ask("silence")
	before := Counts{}
	until(t, "silence", func() bool {
		n := c.Counts()
		quiet := n.Received == before.Received && s.ask("look").Received == n.Sent
		before = n
		return quiet
	})
	open, _ := c.Ledgers()
	for _, l := range open {
		if l.Server != 7 || l.Sent == 0 || l.Received == 0 {
			t.Errorf("a session that stays: %+v", l)
		}
	}
	c.Leave()
	_, ended = c.Ledgers()
	if len(open) != 20 || len(ended) != 20 {
		t.Errorf("%d open, %d ended", len(open), len(ended))
	}
	until(t, "the server knows of the ends", func() bool { return s.ask("look").Open == 0 })
	r, n := s.ask("look"), c.Counts()
	if r.Received != n.Sent || r.Sent != n.Received || r.Lost+n.Lost+r.Duplicated+n.Duplicated != 0 || r.Accepted != n.Connected || n.Failed != 0 {
		t.Errorf("server %+v, callers %+v", r, n)
	}
	if n.Ended[Planned] != n.Connected || n.Ended[Incomplete] != 0 {
		t.Errorf("ends %v", n.Ended)
	}
}

// A session that stays connects again after its server has died and returned,
// and says so.
func TestSessionsReturn(t *testing.T) {
	s := startServer(t, 1)
	c := startCallers(t, s.addr, time.Second)
	c.Keep(5, Spec{Prefix: "live/s", Rate: 50})
	until(t, "sessions", func() bool { return c.Counts().Open == 5 })
	if r := s.ask("forget"); r.Error == "" {
		t.Errorf("an unknown command is answered with %+v", r)
	}
	first := s.ask("all")
	if len(first.Sessions) != 5 {
		t.Fatalf("%d sessions", len(first.Sessions))
	}
	_ = s.in.Close()
	until(t, "time-outs", func() bool { return c.Counts().Ended[TimedOut] == 5 })
	open, ended := c.Ledgers()
	if len(open) != 0 || len(ended) != 5 || ended[0].End != TimedOut || ended[0].At == 0 {
		t.Errorf("%d open, ended %+v", len(open), ended)
	}
	until(t, "tries", func() bool { n := c.Counts(); return n.Attempts > 5 && n.Open == 0 })
}

// All sessions connect again at once, at a slow server as well, and fewer of them after Release.
func TestRedial(t *testing.T) {
	s := startServer(t, 1)
	c := startCallers(t, s.addr, 20*time.Second)
	c.Keep(10, Spec{Prefix: "live/s", Rate: 50})
	until(t, "sessions", func() bool { return c.Counts().Open == 10 })
	if waits := c.Waits(); len(waits) != 10 || len(c.Waits()) != 0 {
		t.Errorf("%d connects took their time", len(waits))
	}
	s.ask("slow")
	c.Redial()
	until(t, "sessions again", func() bool { return c.Counts().Open == 10 })
	for _, wait := range c.Waits() {
		if wait < 2*time.Duration(slowness) {
			t.Errorf("a slow server took %v", wait)
		}
	}
	s.ask("quick")
	c.Release(4)
	until(t, "fewer sessions", func() bool { return s.ask("look").Open == 6 })
	if n := c.Counts(); n.Open != 6 || n.Wanted != 6 || n.Ended[Redialled] != 14 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}
