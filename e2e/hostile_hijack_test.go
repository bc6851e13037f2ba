//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

const (
	// quietEvery is longer than an address must be silent before another may be its
	// caller's, and shorter than the relay's idle timeout.
	quietEvery = 400 * time.Millisecond
	// hijackers is how many addresses datagrams are forged from.
	hijackers = 16
	// reflectionMost is how many bytes at most a relay sends to an address for each that came
	// from there.
	reflectionMost = 3
)

// hijack is attackers who know everything of the sessions but what a relay sends to the
// callers' addresses: they do not read what comes back to their own.
type hijack struct {
	*siege
	prey []*srttest.Session // flows that are often silent for long
	idle []*flow
	from []*net.UDPConn
}

func startHijack(t *testing.T, seed uint64, args ...string) *hijack {
	t.Helper()
	h := &hijack{siege: startSiege(t, binary, seed, 1472, args...)}
	for i := range 8 {
		s := mustDial(t, h.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/quiet%d,m=publish", i)})
		echo(t, s, 1)
		h.prey, h.idle = append(h.prey, s), append(h.idle, flowEach(t, s, quietEvery))
	}
	for _, f := range h.flows {
		h.prey = append(h.prey, f.s)
	}
	for i := range hijackers {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))})
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		h.from = append(h.from, conn)
	}
	return h
}

// target is what an observer of a session knows.
func target(s *srttest.Session) srttest.Target {
	c := s.Counters()
	return srttest.Target{
		ID: s.PeerID(), Sequence: s.NextSequence(), ACKed: (s.ISN() + uint32(c.Received)) & (1<<31 - 1),
		ACKNumber: uint32(c.Acks), Timestamp: s.Timestamp(),
	}
}

// strike sends n forged datagrams, and returns how many bytes they had.
func (h *hijack) strike(n int) (bytes int) {
	h.t.Helper()
	h.attack(n, func() int {
		bytes += h.send()
		return 1
	})
	return bytes
}

// send sends one forged datagram, and returns its length.
func (h *hijack) send() int {
	b := h.forge.Hijack(target(h.prey[h.forge.IntN(len(h.prey))]))
	_, err := h.from[h.forge.IntN(len(h.from))].WriteToUDPAddrPort(b, h.addr)
	must(h.t, err)
	return len(b)
}

// reflected is what the relay has sent to the attackers' addresses: datagrams and their bytes.
func (h *hijack) reflected() (datagrams, bytes int) {
	h.t.Helper()
	b := make([]byte, 2048)
	for _, conn := range h.from {
		must(h.t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		for {
			n, err := conn.Read(b)
			if err != nil {
				break
			}
			datagrams++
			bytes += n
		}
	}
	return datagrams, bytes
}

// callers are the sessions' callers, by the sessions' IDs.
func (r *relay) callers() map[string]netip.AddrPort {
	r.t.Helper()
	at := map[string]netip.AddrPort{}
	for _, s := range r.natSessions() {
		at[s.ID] = s.Caller
	}
	return at
}

// Datagrams that know a session's socket ID, sequence numbers and timestamps but come from
// another address move no session, end none and damage none, also those whose caller is silent
// at the time. They earn their senders at most three bytes for each of theirs.
func TestHijackMovesNothing(t *testing.T) {
	t.Parallel()
	h := startHijack(t, 4)
	before := h.callers()
	time.Sleep(time.Second) // no session migrates in its first second: attack those that could
	sent := h.strike(20_000)
	datagrams, bytes := h.reflected()
	st := h.stats()
	t.Logf("%d bytes forged, %d datagrams with %d bytes reflected, a factor of %.5f; %d challenges, %d migrations",
		sent, datagrams, bytes, float64(bytes)/float64(sent), st["migration_challenges"], st["migrations"])
	if bytes >= reflectionMost*sent {
		t.Errorf("%d bytes reflected for %d", bytes, sent)
	}
	if st["migration_challenges"] == 0 || datagrams == 0 {
		t.Error("no forged datagram was plausible: nothing was tested")
	}
	if st["migrations"] != 0 {
		t.Errorf("%d migrations", st["migrations"])
	}
	after := h.callers()
	for id, caller := range before {
		if after[id] != caller {
			t.Errorf("the caller of session %s was %v and is %v", id, caller, after[id])
		}
	}
	for _, f := range h.idle {
		f.finish(h.backend)
		must(t, f.s.SendShutdown())
	}
	h.finish("foreign_caller unvalidated")
}

// skirmish is how many datagrams are forged each skirmishEvery: per session about as many as its
// caller sends. Attackers who see all and send far more than the caller can keep it from moving:
// a session has one candidate at a time.
const (
	skirmish      = 32
	skirmishEvery = 10 * time.Millisecond
)

// A caller whose address changes keeps its session while others forge its datagrams.
func TestMigrationAmongHijackers(t *testing.T) {
	t.Parallel()
	h := startHijack(t, 5)
	link := startLink(t, h.addr, nil)
	s := mustDial(t, link.Addr(), srttest.CallerOptions{StreamID: "#!::r=live/roaming,m=publish"})
	echo(t, s, 1)
	h.prey = append(h.prey, s)
	time.Sleep(time.Second) // no session migrates in its first second
	f := keepFlowing(t, s)
	must(t, link.Rebind())
	at, _ := link.ClientPort(s.Port().Addr())
	begun, struck := time.Now(), 0
	tick := time.NewTicker(skirmishEvery)
	defer tick.Stop()
	for h.stats()["migrations"] == 0 && time.Since(begun) < patience {
		<-tick.C
		for range skirmish {
			struck += h.send()
		}
	}
	found := false
	for _, session := range h.natSessions() {
		found = found || session.Caller.Port() == at.Port()
	}
	t.Logf("migrated within %d ms, among %d forged bytes", time.Since(begun).Milliseconds(), struck)
	if !found {
		t.Errorf("no session has its caller at %v; %v", at, h.dropsByReason())
	}
	got := s.Counters().Received
	await(t, s, "data at the new address", func() bool { return s.Counters().Received >= got+100 })
	close(f.stopped)
	f.sending.Wait()
}
