package shard

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// A hundred thousand sessions that hardly speak are what a relay of players
// holds most of. Each is to cost 1 KiB of memory in all: these, and the balancer,
// the table, the owners, the names of streams and what the process has anyway.
// What only the handshake needs belongs into pendingHandshake, what the caller
// may ask for again into the replay.
func TestIdleSessionsAreSmall(t *testing.T) {
	for name, c := range map[string]struct{ size, budget uintptr }{
		"session and cold state": {unsafe.Sizeof(session{}) + unsafe.Sizeof(coldState{}), 320},
		"account":                {unsafe.Sizeof(account{}), 32},
		"timer":                  {unsafe.Sizeof(timer{}), 16},
		"kernel path":            {unsafe.Sizeof(kernelState{}), 152},
	} {
		if c.size > c.budget {
			t.Errorf("%s: %d bytes, want %d at most", name, c.size, c.budget)
		}
	}
}

// What a shard's heap has per idle session, without the names of its stream.
func BenchmarkIdleSessions(b *testing.B) {
	const many = 100_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		r := newRig(b, func(c *Config) { c.MaxSessions = many })
		before := heap()
		for k := range uint32(many) {
			i, ss := r.sessions.alloc()
			ss.state, ss.callerID, ss.backendID = StateEstablished, k+1, k+1
			r.sessions.keyCaller(i, ss)
			r.sessions.keyBack(i, ss)
			r.sessions.keyFront(i, ss)
			r.restoreAccount(i, ss)
			r.wheel.Set(i, time.Minute)
		}
		b.ReportMetric(float64(heap()-before)/many, "B/session")
		r.sessions = sessions{table: newTable(), seed: r.sessions.seed}
	}
}

// What a datagram touches of its session is to be two cache lines from a
// caller and three from a backend; an allocation of a chunk begins at one.
func TestSessionsLieInCacheLines(t *testing.T) {
	const line = 64
	var ss session
	if n := unsafe.Sizeof(ss); n != 3*line {
		t.Errorf("a session has %d bytes, want %d", n, 3*line)
	}
	for name, at := range map[string]uintptr{
		"backend, a caller's datagrams": unsafe.Offsetof(ss.backend) - line,
		"toCaller, the rest":            unsafe.Offsetof(ss.toCaller) - 2*line,
	} {
		if at != 0 {
			t.Errorf("%s: the line does not begin there", name)
		}
	}
}

// A session goes from state to state as session.go draws it, and no other way.
func TestTransitions(t *testing.T) {
	for name, tt := range map[string]struct {
		to   func(*session)
		from []State
	}{
		"resolving":   {(*session).toResolving, []State{StateFree}},
		"connecting":  {(*session).toConnecting, []State{StateResolving, StateConnecting}},
		"established": {func(ss *session) { ss.toEstablished(time.Second, 1) }, []State{StateConnecting}},
		"rejected":    {(*session).toRejected, []State{StateResolving, StateConnecting}},
		"closing":     {func(ss *session) { ss.toClosing(time.Second, CauseIdle) }, []State{StateEstablished}},
	} {
		for st := StateFree; st <= StateClosing; st++ {
			ss := session{state: st}
			wrong := func() (panicked bool) {
				defer func() { panicked = recover() != nil }()
				tt.to(&ss)
				return false
			}()
			if wrong == slices.Contains(tt.from, st) {
				t.Errorf("from %v to %s: panic %v", st, name, wrong)
			}
			if !wrong && ss.state.String() != name {
				t.Errorf("from %v to %v, want %s", st, ss.state, name)
			}
		}
	}
}

func TestUnknownEnumValuesHaveAName(t *testing.T) {
	for _, v := range []fmt.Stringer{State(255), Cause(255), Counter(255), NumCounters} {
		if got := v.String(); got != "unknown" {
			t.Errorf("%T: %q", v, got)
		}
	}
}

func TestProbesLast(t *testing.T) {
	sum := time.Duration(0)
	for _, after := range probeAfter {
		sum += after
	}
	if sum != probesLast {
		t.Errorf("the probes take %v, probesLast is %v", sum, time.Duration(probesLast))
	}
}
