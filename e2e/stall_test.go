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
	for deadline := time.Now().Add(patience); received() < before+20_000; {
		if time.Now().After(deadline) {
			t.Fatalf("%d datagrams received since the relay runs again", received()-before)
		}
		time.Sleep(20 * time.Millisecond) // counted by many; there is no event
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
