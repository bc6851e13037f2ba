//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

// flow is a session that sends all the time, to a backend that echoes.
type flow struct {
	t       *testing.T
	s       *srttest.Session
	stopped chan struct{}
	sending sync.WaitGroup
	err     error
}

// flowEvery is about the pace of a 2 Mbit/s stream.
const flowEvery = 5 * time.Millisecond

// keepFlowing starts to send on s.
func keepFlowing(t *testing.T, s *srttest.Session) *flow {
	return flowEach(t, s, flowEvery)
}

// flowEach starts to send on s, a datagram each period.
func flowEach(t *testing.T, s *srttest.Session, period time.Duration) *flow {
	f := &flow{t: t, s: s, stopped: make(chan struct{})}
	f.sending.Go(func() {
		tick := time.NewTicker(period)
		defer tick.Stop()
		payload := make([]byte, 1316)
		for f.err == nil {
			select {
			case <-f.stopped:
				return
			case <-tick.C:
				f.err = s.SendData(payload)
			}
		}
	})
	return f
}

// finish ends the sending and fails the test unless every packet arrived once
// and in order at the backend, and its echo at the caller.
func (f *flow) finish(backends ...*srttest.Listener) {
	f.t.Helper()
	close(f.stopped)
	f.sending.Wait()
	sent := f.s.Counters().Sent
	if err := f.s.Await(patiently(f.t), func() bool { return f.s.Counters().Received >= sent }); err != nil || f.err != nil {
		f.t.Errorf("a flow that nothing should disturb: %v %v %v", err, f.err, f.s.Err())
	}
	checkCleanEnd(f.t, "flow", f.s.Counters(), sent)
	conn, _ := connectionOf(f.t, f.s, backends...)
	checkCleanEnd(f.t, "flow at the backend", conn.Counters(), sent)
}

// fleet is a relay with backends that are about to misbehave and one in good
// health. Each has a session, which keeps the session's stream there; the one
// in good health flows. All are drained: none takes over the callers of
// another, who so see what their own backend does.
type fleet struct {
	*relay
	bad     []*srttest.Listener
	streams []string           // whose home is bad[i]
	anchors []*srttest.Session // at bad[i]
	good    *srttest.Listener
	flow    *flow // at good
}

func startFleet(t *testing.T, bad int, args ...string) *fleet {
	t.Helper()
	f := &fleet{streams: make([]string, bad), anchors: make([]*srttest.Session, bad)}
	var all []*srttest.Listener
	for range bad + 1 {
		l := startMirror(t)
		all = append(all, l)
		args = append(args, backendAt(l.Addr()))
	}
	f.bad, f.good = all[:bad], all[bad]
	f.relay = startRelay(t, args...)
	for i := range all {
		// The least busy backend takes each new stream, so every one gets one.
		stream := fmt.Sprintf("#!::r=live/home%d,m=publish", i)
		s := mustDial(t, f.addr, srttest.CallerOptions{StreamID: stream})
		if _, at := connectionOf(t, s, all...); at < bad {
			f.streams[at], f.anchors[at] = stream, s
		} else {
			f.flow = keepFlowing(t, s)
		}
	}
	if f.flow == nil || slices.Contains(f.anchors, nil) {
		t.Fatalf("two streams on one backend\n%s", f.tail())
	}
	for _, l := range all {
		f.drain(l.Addr().String())
	}
	return f
}

// attempt is some callers who connect to a stream.
type attempt struct {
	sessions []*srttest.Session
	errs     []error
}

// dial lets n callers at once, each from a port of its own, connect to the
// stream of bad backend i. The attempt is complete when dials are done.
func (f *fleet) dial(dials *sync.WaitGroup, i, n int) *attempt {
	f.t.Helper()
	a := &attempt{sessions: make([]*srttest.Session, n), errs: make([]error, n)}
	ctx := patiently(f.t)
	for k := range n {
		port := openPort(f.t, loopback)
		dials.Go(func() {
			a.sessions[k], a.errs[k] = port.Dial(ctx, f.addr, srttest.CallerOptions{StreamID: f.streams[i]})
		})
	}
	return a
}

// leases returns how many sessions the balancer counts.
func (f *fleet) leases() (n int) {
	f.t.Helper()
	var data struct{ Backends []struct{ Sessions int } }
	f.get("/api/v1/backends", &data)
	for _, b := range data.Backends {
		n += b.Sessions
	}
	return n
}

// finish checks that the healthy backend had its own flow and nothing else,
// ends what is left, and awaits that all of it is freed on both sides.
func (f *fleet) finish(callers ...*srttest.Session) {
	f.t.Helper()
	f.flow.finish(f.good)
	if n := f.good.Count(); n != 1 {
		f.t.Errorf("the healthy backend had %d connections, want the flow alone", n)
	}
	f.shutDown(callers...)
}

func (f *fleet) shutDown(callers ...*srttest.Session) {
	f.t.Helper()
	for _, s := range slices.Concat(callers, f.anchors, []*srttest.Session{f.flow.s}) {
		must(f.t, s.SendShutdown())
	}
	awaitNothingLeft(f.relay)
	f.await("leases returned", func(stats) bool { return f.leases() == 0 })
	awaitLive(f.t, f.good, 0)
}

// awaitRejections waits until the log tells n rejections with this code on
// account of backend l.
func (f *fleet) awaitRejections(l *srttest.Listener, code uint32, n int) {
	f.t.Helper()
	f.awaitLog("caller rejected", func(logLine) bool {
		logged := 0
		for _, line := range f.log("caller rejected") {
			var number uint32
			_, _ = fmt.Sscan(line.text("code"), &number)
			if number == code && line.text("backend") == l.Addr().String() {
				logged++
			}
		}
		return logged == n
	})
}
