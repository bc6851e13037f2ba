//go:build linux

package e2e

import (
	"errors"
	"sync"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

// badCase is a way to fail, and what the callers are to see of it. They give
// up after 3 s, so a code that comes at all comes in time.
type badCase struct {
	name string
	do   func(l *srttest.Listener)
	code uint32 // 0: they connect all the same
}

var badCases = []badCase{
	{"silent", func(l *srttest.Listener) { l.Silent(true) }, 2503},
	{"silent to INDUCTION", func(l *srttest.Listener) { l.SilentInduction(true) }, 2503},
	{"silent to CONCLUSION", func(l *srttest.Listener) { l.SilentConclusion(true) }, 2503},
	{"slow, in time", func(l *srttest.Listener) { l.SlowBy(600 * time.Millisecond) }, 0},
	// Both replies together take 3 s; the callers are rejected after 2.2 s.
	{slowTooLate, func(l *srttest.Listener) { l.SlowBy(1500 * time.Millisecond) }, 2503},
	{"rejects for good", func(l *srttest.Listener) { l.Reject(1010) }, 1010},
	{"backlog for ever", func(l *srttest.Listener) { l.Reject(1005) }, 1005},
	{"backlog for a while", func(l *srttest.Listener) { l.RejectTimes(1005, 6) }, 0},
	{gone, func(l *srttest.Listener) { l.Kill() }, 2503},
	{"answers another ID", func(l *srttest.Listener) { l.Lie(srttest.WrongDestID) }, 2503},
	{"answers with another ISN", func(l *srttest.Listener) { l.Lie(srttest.WrongISN) }, 2502},
	{"answers garbage", func(l *srttest.Listener) { l.Lie(srttest.Garbage) }, 2502},
	{"answers half", func(l *srttest.Listener) { l.Lie(srttest.Truncated) }, 2502},
	{"inducts another ID", func(l *srttest.Listener) { l.LieInInduction(srttest.WrongDestID) }, 2503},
	{"inducts with another ISN", func(l *srttest.Listener) { l.LieInInduction(srttest.WrongISN) }, 2502},
	{"inducts with garbage", func(l *srttest.Listener) { l.LieInInduction(srttest.Garbage) }, 2502},
	{"inducts by half", func(l *srttest.Listener) { l.LieInInduction(srttest.Truncated) }, 2502},
	{"answers from another port", func(l *srttest.Listener) { l.AnswerFromOtherPort(true) }, 2503},
	{"sends data before the response", func(l *srttest.Listener) { l.DataBeforeResponse(5) }, 0},
}

const (
	slowTooLate = "slow, too late"
	gone        = "gone"
)

// Every kind of bad backend at once, behind one relay: only its own callers
// notice, each with the right code in time; a session through the healthy
// backend goes on without loss, and nothing is left of any of it.
func TestBadBackends(t *testing.T) {
	t.Parallel()
	f := startFleet(t, len(badCases))
	var dials sync.WaitGroup
	attempts := make([]*attempt, len(badCases))
	for i, bad := range badCases {
		bad.do(f.bad[i])
		if bad.code != 0 {
			// The relay knows the cookie from the session that is there, and
			// could do without what some of them fail at.
			f.bad[i].ExpireCookies()
		}
		callers := 3
		if bad.name == gone {
			callers = 1 // tells the relay, and the next ones go elsewhere
		}
		attempts[i] = f.dial(&dials, i, callers)
	}
	dials.Wait()
	var connected []*srttest.Session
	rejected := 0
	for i, bad := range badCases {
		a := attempts[i]
		a.check(t, bad)
		if bad.code != 0 {
			rejected += len(a.errs)
			f.awaitRejections(f.bad[i], bad.code, len(a.errs))
		} else {
			connected = append(connected, a.sessions...)
		}
	}
	st := f.stats()
	if want := len(badCases) + 1 + len(connected); st["rejected"] != uint64(rejected) || st["established"] != uint64(want) {
		t.Errorf("want %d rejected and %d established: %v", rejected, want, st)
	}
	for _, reason := range []string{"foreign_backend", "bad_reply", "early", "leg_retries", "backends_lost"} {
		if st[reason] == 0 {
			t.Errorf("%s not counted: %v", reason, st)
		}
	}
	for i, bad := range badCases {
		// A connection that opens after its caller was rejected is useless: the
		// relay ends it.
		if l := f.bad[i]; bad.name == slowTooLate {
			await(t, l, "late connection", func() bool { return l.Count() > 1 })
			l.SlowBy(0)
			awaitLive(t, l, 1)
		}
	}
	f.finish(connected...)
}

// check holds what the callers saw to what they were to see.
func (a *attempt) check(t *testing.T, bad badCase) {
	t.Helper()
	for i, err := range a.errs {
		if bad.code != 0 {
			rejection, ok := errors.AsType[*srttest.Rejection](err)
			if !ok || rejection.Code != bad.code {
				t.Errorf("%s: %v, want wire code %d", bad.name, err, bad.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", bad.name, err)
			continue
		}
		if seen := a.sessions[i].Seen(); seen.Early != 0 || seen.Responses != 1 {
			t.Errorf("%s: before or beside the response: %+v", bad.name, seen)
		}
	}
}

// A backend that dies in the middle of handshakes and sessions: the relay
// knows it from what the kernel quotes, long before any deadline.
func TestBadBackendDiesMeanwhile(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, "--backend-silence", "60s")
	l, anchor := f.bad[0], f.anchors[0]
	l.SilentConclusion(true)
	var dials sync.WaitGroup
	a := f.dial(&dials, 0, 5)
	await(t, l, "CONCLUSIONs", func() bool { return l.Stats().Conclusions >= 1+5 })
	l.Kill()
	dials.Wait()
	a.check(t, badCase{"dies", nil, 2503})
	f.awaitRejections(l, 2503, 5)
	// The session that was there before learns of it as well.
	await(t, anchor, "SHUTDOWN", func() bool { return anchor.Counters().Shutdowns == 1 })
	ended := f.awaitLog("session ended", func(logLine) bool { return true })
	if cause := ended.text("cause"); cause != "backend lost" || ended.number("caller_id") != int64(anchor.ID()) {
		t.Errorf("first session ended: %v", ended)
	}
	// Callers that connect again reach the backend that is left.
	f.undrain(f.good.Addr().String())
	s := mustDial(t, f.addr, srttest.CallerOptions{StreamID: f.streams[0]})
	connectionOf(t, s, f.good)
	echo(t, s, 10)
	f.flow.finish(f.good)
	f.shutDown(s)
}
