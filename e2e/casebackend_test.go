//go:build linux

package e2e

import (
	"sync/atomic"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// A silent backend affects only its own callers. If no other backend can take them, they are
// rejected before they give up, which the fake caller does after 3 s as libsrt does.
func TestCase04SilentBackend(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	lost := mustDial(t, c.addr, srttest.CallerOptions{StreamID: "live/lost"})
	fine := mustDial(t, c.addr, srttest.CallerOptions{StreamID: "live/fine"})
	if c.backendOf(lost) == c.backendOf(fine) {
		t.Fatal("two streams are on one of two backends")
	}
	c.drain(c.backends[c.backendOf(fine)].Addr().String())
	c.backends[c.backendOf(lost)].Silent(true)
	verdict := make(chan error, 1)
	go func() {
		_, err := lost.Port().Dial(patiently(t), c.addr, srttest.CallerOptions{StreamID: "live/lost"})
		verdict <- err
	}()
	c.await("handshake under way", func(st stats) bool { return st["half_open"] == 1 })
	for waiting := true; waiting; {
		select {
		case err := <-verdict:
			wantRejection(t, err, 2503)
			waiting = false
		default:
			echo(t, fine, 10)
			echo(t, mustDial(t, c.addr, srttest.CallerOptions{StreamID: "live/fine"}), 1)
		}
	}
	c.await("handshake freed", func(st stats) bool { return st["half_open"] == 0 })
}

// The relay repeats the datagrams of the backend leg: a gosrt caller sends nothing twice.
func TestCase05FirstLegDatagramLost(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]struct {
		srttest.Direction
		wire.HandshakeType
	}{
		"INDUCTION":           {srttest.Up, wire.HandshakeInduction},
		"INDUCTION reply":     {srttest.Down, wire.HandshakeInduction},
		"CONCLUSION":          {srttest.Up, wire.HandshakeConclusion},
		"CONCLUSION response": {srttest.Down, wire.HandshakeConclusion},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startEcho(t)
			const callerID = 0xC0FFEE01
			var lost atomic.Int32
			link := startLink(t, l.Addr(), func(d srttest.Direction, b []byte) srttest.Action {
				h, ok := wire.AsHandshake(b)
				if !ok || d != dir.Direction || h.Type() != dir.HandshakeType {
					return srttest.Pass
				}
				// The relay's probes pass: they have IDs of their own.
				own := h.SocketID() == callerID || h.Packet().DestID() == callerID
				if !own || !lost.CompareAndSwap(0, 1) {
					return srttest.Pass
				}
				return srttest.Drop
			})
			r := startRelay(t, backendAt(link.Addr()))
			s := mustDial(t, r.addr, srttest.CallerOptions{Style: srttest.Gosrt, SocketID: callerID})
			echo(t, s, 1)
			if st := r.stats(); lost.Load() != 1 || st["leg_retries"] == 0 || l.Count() != 1 {
				t.Errorf("lost %d, %d retries, %d connections", lost.Load(), st["leg_retries"], l.Count())
			}
		})
	}
}

func TestCase11NoBackendAlive(t *testing.T) {
	t.Parallel()
	dead := startEcho(t)
	dead.Kill()
	for _, args := range [][]string{nil, {backendAt(dead.Addr())}} {
		r := startRelay(t, args...)
		s, err := tryDial(t, r.addr, srttest.CallerOptions{})
		wantRejection(t, err, 2503)
		// Not at a deadline: until that one, the caller would ask nine times.
		if n := s.Seen().ConclusionsSent; n > 4 {
			t.Errorf("with %q: rejected after %d CONCLUSIONs", args, n)
		}
		st := counted(r, "rejection counted", func(st stats) bool { return st["rejected"] == 1 && st["half_open"] == 0 })
		if st["leg_retries"] != 0 {
			t.Errorf("with %q: %v", args, st)
		}
	}
}

// What a backend rejects with is the caller's to know, and then it is over.
func TestCase25RejectionOfBackend(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	fds := r.openFDs()
	for _, code := range []uint32{1010, 1014, 2401, 2409, 3001} {
		l.Reject(code)
		_, err := tryDial(t, r.addr, srttest.CallerOptions{Style: srttest.Gosrt})
		wantRejection(t, err, code)
	}
	r.awaitEmpty()
	if n := r.openFDs(); n > fds+1 { // the API's connection
		t.Errorf("%d file descriptors, %d before", n, fds)
	}
	l.Reject(0)
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 1)
}

// A full accept queue drains: the relay asks again, and passes the plea on
// only at its own deadline.
func TestCase26BacklogIsRetried(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	const times = 4
	l.RejectTimes(1005, times)
	s := mustDial(t, r.addr, srttest.CallerOptions{Style: srttest.Gosrt})
	echo(t, s, 1)
	if n := l.Stats().Rejected; n != times || s.Seen().Rejections != 0 {
		t.Errorf("the backend rejected %d times, the caller heard %d", n, s.Seen().Rejections)
	}
	l.Reject(1005)
	_, err := tryDial(t, r.addr, srttest.CallerOptions{Style: srttest.Gosrt})
	wantRejection(t, err, 1005)
}

// What overtakes the response would make a caller conclude again.
func TestCase36DataBeforeResponse(t *testing.T) {
	t.Parallel()
	const early = 5
	for _, style := range []srttest.Style{srttest.LibsrtAsync, srttest.Gosrt} {
		l := startEcho(t)
		l.DataBeforeResponse(early)
		r := startRelay(t, backendAt(l.Addr()))
		s := mustDial(t, r.addr, srttest.CallerOptions{Style: style})
		st := counted(r, "early data dropped", func(st stats) bool { return st["early"] == early })
		if seen := s.Seen(); seen.Early != 0 || seen.Responses != 1 || seen.ConclusionsSent != 1 || st["established"] != 1 {
			t.Errorf("style %d: %d packets before the response, %d CONCLUSIONs, %d responses",
				style, seen.Early, seen.ConclusionsSent, seen.Responses)
		}
		must(t, s.SendData([]byte("after")))
		await(t, s, "echo", func() bool { return s.Counters().Received == 1 })
	}
}
