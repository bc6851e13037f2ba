package shard

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
	"srtrelay/wire"
)

// loops is a group whose loops run, with a caller and its backend on every
// shard.
type loops struct {
	*Group
	*rig
	callers []*net.UDPConn // by shard
}

// startLoops establishes a session per shard before the loops run, and then
// starts them.
func startLoops(t *testing.T, shards int, change ...func(*Config)) *loops {
	t.Helper()
	r := newRig(t, append(change, func(c *Config) { c.Shards = shards })...)
	l := &loops{Group: r.owner, rig: r, callers: make([]*net.UDPConn, shards)}
	for k := range shards {
		l.callers[k] = l.establishOn(k)
	}
	l.Start()
	return l
}

// establishOn opens callers until the kernel gives one to the shard, and
// establishes its session there.
func (l *loops) establishOn(k int) *net.UDPConn {
	l.t.Helper()
	l.Shard = l.shards[k]
	for range 1000 {
		l.settle() // what the callers before sent
		c := l.dialFront()
		must(l.t, c, packet(1, 20))
		before := l.count(CountReceivedFront)
		if l.settle(); l.count(CountReceivedFront) == before {
			continue // another shard's
		}
		id := uint32(callerID + k)
		l.establish(c, id, callerISN, backendID+uint32(k))
		return c
	}
	l.t.Fatalf("no caller for shard %d", k)
	return nil
}

// awaitShutdown waits until a SHUTDOWN for a socket ID arrives at c.
func awaitShutdown(t *testing.T, c *net.UDPConn, id uint32) {
	t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("no SHUTDOWN for %x: %v", id, err)
		}
		if p := wire.Packet(b[:n]); n >= wire.HeaderSize && p.Is(wire.TypeShutdown) && p.DestID() == id {
			return
		}
	}
}

// The bug: a panic in one shard ended the process without a word to the
// callers of the others.
func TestPanicOfOneShardLetsOthersTellTheirSessions(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLoops(t, 2)
	l.shards[0].inbox.postAlways(func(*Shard) { panic("boom") })
	var p *PanicError
	if err := <-l.Broken(); !errors.As(err, &p) || p.Shard != 0 || p.Value != "boom" ||
		!strings.Contains(string(p.Stack), "crash_test.go") {
		t.Fatalf("broken by %v", err)
	}
	// Its socket is still open: without it the other's flows would move.
	if _, err := l.callers[0].Write(packet(backendID, 20)); err != nil {
		t.Errorf("write to the shard that panicked: %v", err)
	}
	if _, err := l.callers[0].Write(packet(backendID, 20)); errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("the shard that panicked has closed its socket")
	}
	// Whoever asks it something is told, and does not wait.
	if _, err := l.Kick(t.Context(), SessionID{Shard: 0, Index: 0, Gen: 1}); !errors.Is(err, ErrStopped) {
		t.Errorf("kick on the shard that panicked: %v", err)
	}
	if l.shards[0].inbox.doAlways(func(*Shard) {}) {
		t.Error("the shard that panicked does as it is asked")
	}
	l.Stop()
	awaitShutdown(t, l.callers[1], callerID+1)
}

// Who waits for what a loop was doing when it panicked does not wait for ever.
func TestPanicWhileAsked(t *testing.T) {
	l := startLoops(t, 1)
	if err := l.shards[0].inbox.do(t.Context(), func(*Shard) { panic("boom") }); !errors.Is(err, ErrStopped) {
		t.Errorf("ask: %v, want %v", err, ErrStopped)
	}
	l.Stop()
}

// The bug: a shard whose socket fails ended without telling its sessions.
func TestBrokenShardTellsItsSessions(t *testing.T) {
	l := startLoops(t, 2)
	boom := errors.New("boom")
	l.shards[0].inbox.postAlways(func(s *Shard) { s.abort(boom) })
	if err := <-l.Broken(); err != boom {
		t.Fatalf("broken by %v", err)
	}
	awaitShutdown(t, l.callers[0], callerID)
	l.Stop()
	awaitShutdown(t, l.callers[1], callerID+1)
}

// The bug: after 2^32 handshakes a session had the generation 0, which names
// none.
func TestGenerationSkipsZero(t *testing.T) {
	r := newRig(t)
	r.sessions.gen = 1<<32 - 2
	for k, want := range []uint32{1<<32 - 1, 1, 2} {
		c := r.dialFront()
		r.establish(c, callerID+uint32(k), callerISN, backendID+uint32(k))
		id := r.lastEvent(EventSessionBegun).Session
		if id.Gen != want || id.IsZero() {
			t.Errorf("session %v, want generation %d", id, want)
		}
		if r.sessions.find(id.Index, id.Gen) == nil {
			t.Errorf("no session %v", id)
		}
	}
}

// A shard that stops ends so many sessions a turn, and goes on relaying those
// of the rest meanwhile.
func TestStopWorksInSlices(t *testing.T) {
	const sessions = 3*endsPerTurn + 10
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = sessions+1, nil })
	fillSessions(r, sessions, 1)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.beginStop()
	turns := 0
	for ; !r.exiting; turns++ {
		before := r.sessions.tombstones
		mustTo(t, r.backend, packet(callerID, 60), upstream)
		r.eachEndpoint(func(l *endpoint, _ int) { l.readable = true })
		r.turn()
		if n := r.sessions.tombstones - before; n > endsPerTurn {
			t.Fatalf("turn %d ended %d sessions, want %d at most", turns, n, endsPerTurn)
		}
		if due, ok := r.nextDue(); !r.exiting && (!ok || due > r.now) {
			t.Fatal("the loop would sleep before all sessions are told")
		}
	}
	if turns != 4 {
		t.Errorf("%d turns, want 4", turns)
	}
	if n := r.count(CountForwardedToCaller); n != 4 {
		t.Errorf("%d datagrams of the last session relayed meanwhile, want 4", n)
	}
	if r.sessions.tombstones != sessions+1 {
		t.Errorf("%d sessions ended, want %d", r.sessions.tombstones, sessions+1)
	}
}

// fillSessions enters established sessions on so many backends, as if their
// handshakes had been. Nobody receives at their addresses.
func fillSessions(r *rig, sessions, backends int) {
	r.t.Helper()
	r.turn()
	nowhere := netip.MustParseAddr("127.127.0.1")
	for k := range sessions {
		i, ss := r.sessions.alloc()
		id := uint32(1000 + k)
		*r.sessions.cold(i) = coldState{opened: r.now}
		ss.caller = addrFrom(nowhere, uint16(1+k%60000))
		ss.callerID, ss.backendID, ss.isn = id, 1<<30+id, callerISN
		ss.backend = addrFrom(nowhere.Next(), uint16(1+k%backends))
		ss.state = StateEstablished
		r.usage.open(i, ss.caller.IP)
		r.usage.establish(i)
		ss.establishedAt, ss.callerSeen, ss.backendSeen = r.now, r.now, r.now
		r.peers.join(&r.sessions, i, ss, backend.ID("b"+ss.backend.Netip().String()))
		r.sessions.keyCaller(i, ss)
		r.sessions.keyBack(i, ss)
		r.sessions.keyFront(i, ss)
		r.wheel.Set(i, r.checkDue(i, ss))
	}
}
