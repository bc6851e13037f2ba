//go:build linux

package e2e

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

// The bug: a relay that was stopped for 4 s or longer (SIGSTOP, a debugger, a
// host that gave its CPU to others) ended healthy sessions as "backend silent"
// and doubted their backends, for it looked at its timers before it read what
// had arrived meanwhile.
func TestRelayStoppedUnderSessions(t *testing.T) {
	t.Parallel()
	const ports, perPort, stopped = 10, 5, 6 * time.Second
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--shards", "3", "--backend-silence", "4s")
	c := gather(t, r, ports, perPort)
	c.exchange(3, 1316)

	stop := make(chan struct{})
	var senders sync.WaitGroup
	for _, s := range c.sessions {
		senders.Go(func() { sendUntil(t, s, stop) })
	}
	received := func() (n uint64) {
		for _, s := range c.sessions {
			n += s.Counters().Received
		}
		return n
	}
	r.signal(syscall.SIGSTOP)
	time.Sleep(stopped)
	before := received()
	r.signal(syscall.SIGCONT)
	// The backlog is through, and some seconds of what comes after it.
	if !eventually(func() bool { return received() >= before+20_000 }) {
		t.Fatalf("%d datagrams received since the relay runs again", received()-before)
	}
	close(stop)
	senders.Wait()

	for _, s := range c.sessions {
		if err := s.Err(); err != nil {
			t.Errorf("caller %d: %v", s.ID(), err)
		}
	}
	for _, message := range []string{"session ended", "backend in doubt", "backend down", "backend gone"} {
		if lines := r.log(message); len(lines) > 0 {
			t.Errorf("%d times %q, the first: %v", len(lines), message, lines[0])
		}
	}
	if st := r.stats(); st["stalls"] == 0 {
		t.Errorf("no stall counted: %v", st)
	}
	c.shutDown(r)
}

// sendUntil sends 50 datagrams a second until stop.
func sendUntil(t *testing.T, s *srttest.Session, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	payload := make([]byte, 188)
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if err := s.SendData(payload); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// The bug: a backend that was stopped for 4.6 s ended its sessions here and
// kept them on the direct path, where libsrt waits for 5 s. One that is stopped
// for longer ends them, before its callers find out by themselves.
func TestBackendStoppedForAWhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stopped time.Duration
		ends    bool
	}{
		// A machine that wakes the test late makes more of it, and 4.8 s are too many.
		"4.3 s": {4300 * time.Millisecond, false},
		"8 s":   {8 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOrigin(t, "127.0.0.1")
			r := startRelay(t, "--shards", "2", backendAt(o.addr))
			pub := livePublish(t, r.addr, "live/stopped")
			o.awaitLine("accepted", func(map[string]string) bool { return true })
			fed := make(chan error, 1)
			go func() { fed <- pub.feed(noise(1, 1200), c.stopped+2*time.Second) }()
			await := func(more int) {
				t.Helper()
				if !eventually(func() bool { return o.size("live/stopped") >= more }) {
					t.Fatalf("the origin has %d bytes, want %d", o.size("live/stopped"), more)
				}
			}
			await(1316)
			must(t, o.cmd.Process.Signal(syscall.SIGSTOP))
			time.Sleep(c.stopped)
			ended := r.log("session ended")
			must(t, o.cmd.Process.Signal(syscall.SIGCONT))
			if c.ends {
				// On a busy machine the publisher's own 5 s may be over first.
				if len(ended) != 1 || ended[0].text("cause") != "backend silent" && ended[0].text("cause") != "caller" {
					t.Errorf("want one session ended as backend silent, got %v", ended)
				}
				<-fed // the publisher may have gone
				return
			}
			before := o.size("live/stopped")
			must(t, <-fed)
			await(before + 10*1316)
			if ended := r.log("session ended"); len(ended) > 0 {
				t.Errorf("ended: %v", ended[0])
			}
		})
	}
}

// A host that vanishes is silent and answers no probe: its sessions end before
// libsrt's own 5 s would, and not before a host that was only stopped might be
// back.
func TestBackendsHostVanishes(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 5)
	l.Silent(true)
	start := time.Now()
	keepSending(t, s)
	if took := time.Since(start); took < 4700*time.Millisecond {
		t.Errorf("told after %v, want 4.8 s or longer", took)
	}
	if causes := endings(r, 1); causes["backend silent"] != 1 {
		t.Errorf("causes %v", causes)
	}
	l.Silent(false)
	awaitNothingLeft(r)
}
