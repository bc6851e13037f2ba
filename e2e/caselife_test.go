//go:build linux

package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

// keepSending has a caller send data until it gets a SHUTDOWN.
func keepSending(t *testing.T, s *srttest.Session) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.After(patience)
	for {
		select {
		case <-s.Done():
			return
		case <-tick.C:
			must(t, s.SendData(make([]byte, 1316)))
		case <-over:
			t.Fatalf("session %d has got no SHUTDOWN within %v: %+v", s.ID(), patience, s.Counters())
		}
	}
}

// endOf waits for the log line of a session's end.
func endOf(r *relay, s *srttest.Session) logLine {
	r.t.Helper()
	return r.awaitLog("session ended", func(l logLine) bool { return l.number("caller_id") == int64(s.ID()) })
}

// A session ends with a SHUTDOWN of either side or with silence; then nothing
// of it is left.
func TestCase23EndedSessionsAreFreed(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, "--idle-timeout=3s", backendAt(l.Addr()))
	fds := r.openFDs()
	byCaller := mustDial(t, r.addr, srttest.CallerOptions{})
	byBackend := mustDial(t, r.addr, srttest.CallerOptions{})
	idle := mustDial(t, r.addr, srttest.CallerOptions{})
	for _, s := range []*srttest.Session{byCaller, byBackend, idle} {
		echo(t, s, 1)
	}
	ended := func(s *srttest.Session) *srttest.Connection {
		c, _ := connectionOf(t, s, l)
		return c
	}
	must(t, byCaller.SendShutdown())
	must(t, l.SendShutdown(ended(byBackend)))
	for s, cause := range map[*srttest.Session]string{byCaller: "caller", byBackend: "backend", idle: "idle"} {
		if got := endOf(r, s).text("cause"); got != cause {
			t.Errorf("a session ended by %q, want %q", got, cause)
		}
		c := ended(s)
		await(t, l, "end at the backend", func() bool {
			select {
			case <-c.Done():
				return true
			default:
				return false
			}
		})
		if s != byCaller {
			await(t, s, "SHUTDOWN at the caller", func() bool { return errors.Is(s.Err(), srttest.ErrShutdown) })
		}
	}
	if n := ended(byCaller).Counters().Shutdowns; n != 1 {
		t.Errorf("the caller's SHUTDOWN came %d times", n)
	}
	r.awaitEmpty()
	if st := r.stats(); st["tombstones"] != 0 || r.openFDs() > fds+1 { // the API's connection
		t.Errorf("%d tombstones, %d file descriptors of %d", st["tombstones"], r.openFDs(), fds)
	}
	var data struct {
		Backends []struct{ Sessions, Streams int }
	}
	r.get("/api/v1/backends", &data)
	if len(data.Backends) != 1 || data.Backends[0].Sessions != 0 {
		t.Errorf("the balancer still counts %+v", data.Backends)
	}
}

// A backend dies: its callers get a SHUTDOWN because of the kernel's refusals, not of a
// timeout, and connect to the other one.
func TestCase24BackendDies(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	o := srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"}
	s := mustDial(t, c.addr, o)
	bystander := mustDial(t, c.addr, srttest.CallerOptions{StreamID: "live/other"})
	first := c.backendOf(s)
	if c.backendOf(bystander) == first {
		t.Fatal("two streams are on one of two backends")
	}
	echo(t, s, 1)
	c.backends[first].Kill()
	keepSending(t, s)
	if !errors.Is(s.Err(), srttest.ErrShutdown) {
		t.Errorf("the caller's session ended with %v", s.Err())
	}
	if cause := endOf(c.relay, s).text("cause"); cause != "backend lost" {
		t.Errorf("cause %q", cause)
	}
	// A caller that is back before the balancer knows would find the loss once more.
	dead := c.backends[first].Addr().String()
	c.awaitListing("the lost backend down", func(all map[string]listed) bool { return !all[dead].Alive })
	again := mustDial(t, c.addr, o)
	if c.backendOf(again) == first {
		t.Error("the caller was sent back to the dead backend")
	}
	echo(t, again, 10)
	echo(t, bystander, 10)
	if st := c.stats(); st["backends_lost"] != 1 || bystander.Err() != nil {
		t.Errorf("%d backends lost, bystander %v", st["backends_lost"], bystander.Err())
	}
}

// A caller that crashed comes back from its port with its socket ID: it gets a
// connection, although the relay thinks that the old one lives. One style repeats its
// INDUCTION, the other asks once. That it gets it within a caller's timeout of 3 s shows
// in shard's tests: here a busy machine may stop the relay meanwhile.
func TestCrashedCallerComesBack(t *testing.T) {
	t.Parallel()
	for _, style := range []srttest.Style{srttest.LibsrtAsync, srttest.Gosrt} {
		r := startRelay(t, backendAt(startEcho(t).Addr()))
		port := openPort(t, loopback)
		const id = 0x1234567
		// Two sockets that are as quick as each other, to the microsecond, would send copies of
		// one INDUCTION, of which the relay answers the first.
		connect := func(p *srttest.CallerPort, age time.Duration) *srttest.Session {
			s, err := p.Open(r.addr, srttest.CallerOptions{Style: style, SocketID: id, Age: age})
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.Connect(ctx); err != nil {
				t.Fatalf("style %d: %v", style, err)
			}
			return s
		}
		echo(t, connect(port, 0), 1)
		local := port.Addr()
		must(t, port.Close()) // and no SHUTDOWN
		echo(t, connect(openPort(t, local), time.Minute), 1)
		st := r.stats()
		if st["established"] != 2 || st["sessions"]-st["tombstones"] != 1 {
			t.Errorf("style %d: %v", style, st)
		}
		r.awaitLog("session ended", func(l logLine) bool { return l.text("cause") == "replaced" })
	}
}
