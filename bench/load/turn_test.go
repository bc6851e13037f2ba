//go:build linux

package load

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"testing"
	"time"

	"srtrelay/bench/sink"
	"srtrelay/bench/tally"
)

// startSink runs a sink until the test ends and returns its addresses.
func startSink(t *testing.T) string {
	t.Helper()
	c := sink.Flags(flag.NewFlagSet("sink", flag.ContinueOnError))
	c.Listen, c.Count = "127.0.0.1:0", 1
	in, commands := io.Pipe()
	lines, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- sink.Run(context.Background(), *c, in, out) }()
	var r tally.Report
	if err := json.NewDecoder(lines).Decode(&r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		_ = commands.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = lines.Close()
	})
	return r.Listen[0]
}

// connect opens a load and connects its sessions. It ends with the test.
func connect(t *testing.T, c *Config) *Load {
	t.Helper()
	targets, err := c.targets()
	if err != nil {
		t.Fatal(err)
	}
	l, err := open(*c, targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	if err := l.connectAll(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return l
}

// A turn that sends, receives, checks and answers must not allocate.
func TestTurnDoesNotAllocate(t *testing.T) {
	c := Flags(flag.NewFlagSet("load", flag.ContinueOnError))
	c.Target, c.Sessions, c.Rate, c.Tick = startSink(t), 20, 20000, 100*time.Microsecond
	l := connect(t, c)
	_ = l.Start(l.clock.Now())
	if n := testing.AllocsPerRun(300, func() { l.turn(l.clock.Now()) }); n != 0 {
		t.Errorf("%v allocations in a turn", n)
	}
	if l.book.Sent.Counts[tally.Data] == 0 || l.book.Received.Counts[tally.ACK] == 0 {
		t.Errorf("nothing flowed: %+v", l.book.Sent)
	}
	l.shutdown()
}

// A late load sends everything that was due, in bounded turns, and says how
// late it was.
func TestLateLoadCatchesUp(t *testing.T) {
	c := Flags(flag.NewFlagSet("load", flag.ContinueOnError))
	c.Target, c.Sessions, c.Rate = startSink(t), 5, 10000
	l := connect(t, c)
	l.Mark(l.clock.Now())
	l.plan.Start(l.clock.Now() - int64(100*time.Millisecond))
	l.now = l.clock.Now()
	l.sendDue()
	if n := l.book.Sent.Counts[tally.Data]; n != maxBurst {
		t.Errorf("%d sent in a turn, want %d", n, maxBurst)
	}
	for range 10 {
		l.sendDue()
	}
	if n := l.book.Sent.Counts[tally.Data]; n < 1000 || n > 1000+uint64(c.Rate) {
		t.Errorf("%d sent of 1000 that were due", n)
	}
	r, err := l.Report()
	if err != nil || r.Late < 900 || r.Lag.Max < 90e3 {
		t.Errorf("%d late, lag %+v, %v", r.Late, r.Lag, err)
	}
	l.shutdown()
}

func TestPartsAndTargets(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 0.5: 500, 0.3: 300, 1: 1000} {
		n := 0
		for i := range 1000 {
			if isPlayer(i, share) {
				n++
			}
		}
		if n < want-1 || n > want {
			t.Errorf("share %v: %d players of 1000", share, n)
		}
	}
	// Publishers and players alternate; neither may leave a target out.
	var players, publishers [4]int
	for i := range 1000 {
		if isPlayer(i, 0.5) {
			players[targetOf(i, 4)]++
		} else {
			publishers[targetOf(i, 4)]++
		}
	}
	for i := range 4 {
		if players[i] < 100 || publishers[i] < 100 {
			t.Errorf("target %d: %d players, %d publishers", i, players[i], publishers[i])
		}
	}
}

// Socket IDs name their session, also after many of them.
func TestSocketIDs(t *testing.T) {
	l := &Load{sessions: make([]session, 7), base: 1000}
	id := l.base + 3 - 7
	for i := range 100 {
		id = l.nextID(id)
		if (id-l.base)%7 != 3 {
			t.Fatalf("ID %d is of session %d after %d times", id, (id-l.base)%7, i)
		}
	}
	if id != l.base+3+99*7 {
		t.Errorf("ID %d", id)
	}
	if again := l.nextID(l.base + 3 + (idRange/7-1)*7); again-l.base >= idRange || (again-l.base)%7 != 3 {
		t.Errorf("at the end of the range: %d", again-l.base)
	}
}

func TestPayloadDoesNotRepeat(t *testing.T) {
	b := make([]byte, 1316)
	fill(b)
	if bytes.Count(b, []byte{0, 0, 0, 0}) > 0 || bytes.Equal(b[:100], b[100:200]) {
		t.Error("a payload that shrinks")
	}
}
