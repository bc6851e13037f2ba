//go:build linux

package e2e

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

// Draining: new callers go elsewhere, running ones go on until they have
// finished or the grace is over.
func TestDrainingLetsSessionsGoOn(t *testing.T) {
	t.Parallel()
	// Shards begin to drain one after the other: what one refuses, another may still take.
	r := startRelay(t, "--grace=3s", "--shards=1", backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	prepared := manual(t, r.addr, srttest.CallerOptions{}) // has a cookie already
	r.signal(syscall.SIGTERM)
	// The log is ahead of the shard by a moment.
	r.awaitLog("draining", func(logLine) bool { return true })
	for refused := false; !refused; {
		fresh, err := tryDial(t, r.addr, srttest.CallerOptions{})
		if refused = err != nil; refused {
			wantRejection(t, err, 2503)
		} else {
			must(t, fresh.SendShutdown())
		}
	}
	must(t, prepared.ResendConclusion())
	await(t, prepared, "rejection", func() bool { return prepared.Seen().Rejections == 1 })
	wantRejection(t, prepared.Err(), 2503)
	echo(t, s, 100)
	keepSending(t, s)
	if !errors.Is(s.Err(), srttest.ErrShutdown) {
		t.Errorf("the session ended with %v", s.Err())
	}
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := r.awaitLog("ending sessions", func(logLine) bool { return true }).number("sessions"); left != 1 {
		t.Errorf("%d sessions ended by the grace, want 1", left)
	}
}

// Draining ends with the last session, before the grace is over.
func TestDrainingEndsWithTheLastSession(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--grace=1h", backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	r.signal(syscall.SIGTERM)
	r.awaitLog("draining", func(logLine) bool { return true })
	echo(t, s, 10)
	must(t, s.SendShutdown())
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A load balancer that asks /ready learns first that this relay takes no callers; those
// that it has sent meanwhile are served.
func TestReadyGoesDownBeforeCallersAreRefused(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--drain-delay=4s", "--grace=1h", backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	if status, text := r.readiness(); status != http.StatusOK {
		t.Fatalf("/ready: %d %s", status, text)
	}
	r.signal(syscall.SIGTERM)
	r.awaitReadiness(http.StatusServiceUnavailable, "draining")
	late := mustDial(t, r.addr, srttest.CallerOptions{})
	if n := len(r.log("refusing new callers")); n != 0 {
		t.Error("the delay was over too soon for this test")
	}
	r.awaitLog("refusing new callers", func(logLine) bool { return true })
	for refused := false; !refused; { // the log is ahead of the shards by a moment
		fresh, err := tryDial(t, r.addr, srttest.CallerOptions{})
		if refused = err != nil; refused {
			wantRejection(t, err, 2503)
		} else {
			must(t, fresh.SendShutdown())
		}
	}
	for _, running := range []*srttest.Session{s, late} {
		echo(t, running, 10)
		must(t, running.SendShutdown())
	}
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The second signal ends also a relay that still serves new callers.
func TestSecondSignalEndsTheDrainDelay(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--drain-delay=24h", "--grace=24h", backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	r.signal(syscall.SIGTERM)
	r.awaitLog("draining", func(logLine) bool { return true })
	time.Sleep(1200 * time.Millisecond) // within a second it would be the same
	echo(t, s, 10)
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	await(t, s, "SHUTDOWN at the caller", func() bool { return errors.Is(s.Err(), srttest.ErrShutdown) })
}

// Without a grace the first signal ends all sessions.
func TestNoGrace(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--grace=0s", backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 10)
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	await(t, s, "SHUTDOWN at the caller", func() bool { return errors.Is(s.Err(), srttest.ErrShutdown) })
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, "--grace=1h", backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	c, _ := connectionOf(t, s, l)
	r.signal(syscall.SIGTERM)
	r.awaitLog("draining", func(logLine) bool { return true })
	for range 3 { // as make passes Ctrl-C on, which the terminal sends to both
		r.signal(syscall.SIGINT)
	}
	echo(t, s, 100)
	time.Sleep(1200 * time.Millisecond) // within a second it would be the same
	if n := len(r.log("stopping at once")); n != 0 {
		t.Error("signals of one second ended the relay")
	}
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	await(t, s, "SHUTDOWN at the caller", func() bool { return errors.Is(s.Err(), srttest.ErrShutdown) })
	await(t, c, "SHUTDOWN at the backend", func() bool { return c.Counters().Shutdowns == 1 })
	if cause := endOf(r, s).text("cause"); cause != "relay stopped" {
		t.Errorf("cause %q", cause)
	}
}
