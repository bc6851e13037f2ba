//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// endings waits until n sessions have ended, and counts their causes.
func endings(r *relay, n int) map[string]int {
	r.t.Helper()
	r.awaitLog("session ended", func(logLine) bool { return len(r.log("session ended")) >= n })
	causes := map[string]int{}
	for _, l := range r.log("session ended") {
		causes[l.text("cause")]++
	}
	return causes
}

// A backend dies under fifty sessions: the kernel's refusal, confirmed by one
// of a probe, ends them all. Silence alone would take a minute here.
func TestBackendDiesUnderSessions(t *testing.T) {
	t.Parallel()
	const ports, perPort = 10, 5
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--shards", "2", "--backend-silence", "60s", "--idle-timeout", "60s")
	c := gather(t, r, ports, perPort)
	c.exchange(5, 1316)
	c.checkClean(l)
	l.Kill()
	for _, s := range c.sessions {
		keepSending(t, s)
	}
	if causes := endings(r, len(c.sessions)); causes["backend lost"] != len(c.sessions) {
		t.Errorf("want %d sessions ended because the backend was lost, got %v", len(c.sessions), causes)
	}
	for _, line := range r.log("backend gone") {
		if line.text("backend") != l.Addr().String() {
			t.Errorf("another backend is gone: %v", line)
		}
	}
	if st := r.stats(); st["backends_lost"] == 0 || st["refusals"] == 0 {
		t.Errorf("no refusal counted: %v", st)
	}
	awaitNothingLeft(r)
}

// ICMP is easily forged: port unreachable messages that quote a session's own
// addresses, ports and even socket IDs end nothing and lose nothing.
func TestForgedRefusalEndsNothing(t *testing.T) {
	t.Parallel()
	raw := openRaw(t)
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--shards", "1")
	var flows []*flow
	for i := range 4 {
		o := srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/%d,m=publish", i)}
		flows = append(flows, keepFlowing(t, mustDial(t, r.addr, o)))
	}
	random := rand.New(rand.NewPCG(2, 1))
	sent := uint64(0)
	for round := range 100 {
		f := flows[round%len(flows)]
		conn, _ := connectionOf(t, f.s, l)
		for _, quoted := range forgedQuotes(random, f.s, conn) {
			raw.portUnreachable(conn.Source, l.Addr(), quoted)
			sent++
		}
		r.await("refusals noticed", func(st stats) bool { return st["refusals"] >= sent })
	}
	for _, f := range flows {
		f.finish(l)
	}
	st := r.stats()
	if st["backends_lost"] != 0 || st["established"] != uint64(len(flows)) || st["sessions"] != uint64(len(flows)) {
		t.Errorf("sessions ended by forged ICMP: %v", st)
	}
	if ended := r.log("session ended"); len(ended) != 0 {
		t.Errorf("ended: %v", ended)
	}
}

// forgedQuotes is what an outsider might quote of a session's datagrams: the
// last two know its socket IDs, and look like a handshake that is under way.
func forgedQuotes(random *rand.Rand, s *srttest.Session, conn *srttest.Connection) [][]byte {
	noise := make([]byte, random.IntN(500))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	data := make([]byte, wire.HeaderSize+100)
	wire.Packet(data).SetDestID(conn.ID)
	induction, conclusion := s.Induction(), s.Conclusion(random.Uint32())
	induction.SetISN(random.Uint32() >> 2)
	return [][]byte{nil, noise, data, induction, conclusion}
}

// A backend that says nothing while its caller sends is given up after
// --backend-silence; one whose caller says nothing either is not.
func TestBackendFallsSilent(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--backend-silence", "1s")
	dial := func() *srttest.Session { return mustDial(t, r.addr, srttest.CallerOptions{}) }
	idle, first, second := dial(), dial(), dial()
	for _, s := range []*srttest.Session{idle, first, second} {
		echo(t, s, 5)
	}
	l.Silent(true)
	must(t, idle.SendData([]byte("the last for a while")))
	keepSending(t, first)
	// When the second one gets its SHUTDOWN too, the idle one has been unanswered for twice
	// the limit.
	keepSending(t, second)
	if causes := endings(r, 2); causes["backend silent"] != 2 || len(causes) != 1 {
		t.Errorf("want two sessions ended by silence, got %v", causes)
	}
	l.Silent(false)
	must(t, idle.SendData([]byte("there you are")))
	await(t, idle, "echo after the silence", func() bool { return idle.Counters().Received == 6 })
	if n := idle.Counters().Shutdowns; n != 0 {
		t.Errorf("the idle caller got %d SHUTDOWNs", n)
	}
	must(t, idle.SendShutdown())
	awaitNothingLeft(r)
}

// The backend's SHUTDOWN is lost on its way to the caller: the relay, which
// has seen it, makes another one for a caller that goes on sending.
func TestLostShutdownIsRepeated(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()))
	lost := 0
	link := startLink(t, r.addr, func(dir srttest.Direction, b []byte) srttest.Action {
		if dir == srttest.Down && wire.Packet(b).Is(wire.TypeShutdown) {
			if lost++; lost == 1 {
				return srttest.Drop
			}
		}
		return srttest.Pass
	})
	s := mustDial(t, link.Addr(), srttest.CallerOptions{})
	echo(t, s, 5)
	conn, _ := connectionOf(t, s, l)
	must(t, l.SendShutdown(conn))
	await(t, link, "lost SHUTDOWN", func() bool { return link.Stats(srttest.Down).Lost == 1 })
	if s.Err() != nil {
		t.Fatalf("the SHUTDOWN was not lost: %v", s.Err())
	}
	keepSending(t, s)
	if causes := endings(r, 1); causes["backend"] != 1 {
		t.Errorf("cause of the end: %v", causes)
	}
	if st := counted(r, "SHUTDOWN made", func(st stats) bool { return st["shutdowns_made"] > 0 }); st["closed"] == 0 {
		t.Errorf("late datagrams not counted: %v", st)
	}
	awaitNothingLeft(r)
}
