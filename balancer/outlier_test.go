package balancer

import (
	"fmt"
	"testing"
	"time"

	"srtrelay/backend"
)

// bad is the backend that fails its callers in these tests.
const bad = backend.ID("b4")

// place picks for a client.
func (w *world) place(c *client) backend.Target {
	w.Helper()
	t, err := w.Pick(w.Context(), c.query)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// begin establishes the session of a lease.
func (w *world) begin(t backend.Target) {
	w.Report(backend.Outcome{Lease: t.Lease, Fate: backend.FateBegan})
}

// closed is a session that the backend ended after a time.
func (w *world) closed(t backend.Target, lasted time.Duration) {
	w.Report(backend.Outcome{Lease: t.Lease, Fate: backend.FateClosed, Lasted: lasted})
}

// eject has three callers fail at bad and live elsewhere, and returns them and
// their sessions there.
func (w *world) eject() (callers []*client, elsewhere []backend.Target) {
	w.Helper()
	callers = w.targeted(minFailures, "failed-", bad, oneNetwork)
	for _, c := range callers {
		t := w.place(c)
		if t.ID != bad {
			w.Fatalf("%s is put at %s", c.query.Key, t.ID)
		}
		w.begin(t)
		w.at = w.at.Add(closesAfter)
		w.closed(t, closesAfter)
	}
	for _, c := range callers {
		t := w.place(c)
		if t.ID == bad {
			w.Fatalf("%s is put where it has failed", c.query.Key)
		}
		w.begin(t)
		elsewhere = append(elsewhere, t)
	}
	w.at = w.at.Add(survivedAfter)
	if e := w.Ejections()[bad]; !e.Ejected || e.Returning {
		w.Fatalf("not ejected: %+v", e)
	}
	return callers, elsewhere
}

// taken places new streams that rank bad highest, and returns those that it got.
func (w *world) taken(n int) (there []backend.Target) {
	w.Helper()
	for range n {
		w.seq++
		for _, c := range w.targeted(1, fmt.Sprint("new", w.seq, "-"), bad, oneNetwork) {
			t := w.place(c)
			if t.ID == bad {
				there = append(there, t)
				continue
			}
			w.Report(backend.Outcome{Lease: t.Lease})
		}
	}
	return there
}

// After its time an ejected backend gets one new stream at a time, then two,
// then four, each of which has to live for 2 s; then it is one of the others.
func TestEjectedBackendReturnsByDegrees(t *testing.T) {
	w := newWorld(t, 5, PolicyHash, nil)
	running := w.taken(1)
	w.begin(running[0])
	w.eject()
	if got := w.taken(5); len(got) != 0 {
		t.Fatalf("%d new streams while ejected", len(got))
	}
	w.at = w.at.Add(ejectFor)
	for _, want := range []int{1, 2, 4} {
		e := w.Ejections()[bad]
		if !e.Ejected || !e.Returning {
			t.Fatalf("before step %d: %+v", want, e)
		}
		tries := w.taken(10)
		if len(tries) != want {
			t.Fatalf("%d of 10 new streams try it, want %d", len(tries), want)
		}
		for _, try := range tries {
			w.begin(try)
		}
		w.at = w.at.Add(provenAfter - time.Millisecond)
		if got := w.taken(10); len(got) != 0 {
			t.Errorf("%d more before the %d have lived", len(got), want)
		}
		w.at = w.at.Add(time.Millisecond)
	}
	if e := w.Ejections()[bad]; e.Ejected || e.Times != 1 {
		t.Errorf("after all have lived: %+v", e)
	}
	if got := w.taken(10); len(got) != 10 {
		t.Errorf("%d of 10 new streams, though it is one of the others again", len(got))
	}
	if !w.HasSessions(AffinityKey{Stream: w.keyOf(running[0])}, bad) {
		t.Error("a session that ran all the time is not counted any more")
	}
}

// keyOf returns the stream of a lease.
func (w *world) keyOf(t backend.Target) string {
	w.Helper()
	h := w.leases.find(t.Lease)
	if h == nil {
		w.Fatal("no such lease")
	}
	return h.stream.stream
}

// A returning backend that fails a caller which then lives elsewhere is ejected
// again, for longer. One that fails a caller that does not come back waits for a moment.
func TestReturningBackendThatFailsIsEjectedAgain(t *testing.T) {
	w := newWorld(t, 5, PolicyHash, nil)
	w.eject()
	w.at = w.at.Add(ejectFor)
	try := w.taken(10)
	if len(try) != 1 {
		t.Fatalf("%d streams try it", len(try))
	}
	key := w.keyOf(try[0])
	w.begin(try[0])
	w.at = w.at.Add(closesAfter)
	w.closed(try[0], closesAfter)
	if e := w.Ejections()[bad]; !e.Returning || e.Times != 1 {
		t.Errorf("one failure that may be the caller's: %+v", e)
	}
	if got := w.taken(10); len(got) != 0 {
		t.Errorf("%d streams right after a failure", len(got))
	}
	again := w.place(&client{query: backend.Query{Key: key, StreamID: key, Publish: true, Caller: oneNetwork(0)}})
	if again.ID == bad {
		t.Fatal("it is put where it has just failed")
	}
	w.begin(again)
	w.at = w.at.Add(provenAfter)
	e := w.Ejections()[bad]
	if want := w.at.Add(2 * ejectFor); !e.Ejected || e.Returning || e.Times != 2 || !e.Until.Equal(want) {
		t.Errorf("%+v, want it ejected until %v", e, want)
	}
}

// Each ejection lasts 30 s longer than the one before, 5 min at most, and one is
// forgiven for each minute without.
func TestRepeatedEjectionsLastLonger(t *testing.T) {
	r, now := new(record), time.Hour
	for n := 1; n <= 20; n++ {
		r.eject(now, minFailures, "")
		if got, want := r.until-now, min(time.Duration(n)*ejectFor, maxEjection); got != want || r.total != uint64(n) {
			t.Errorf("ejection %d lasts %v, want %v", n, got, want)
		}
		now = r.until
	}
	now += 17*forgetEvery + time.Second
	if r.eject(now, minFailures, ""); r.until-now != 4*ejectFor {
		t.Errorf("after 17 minutes it lasts %v, want %v", r.until-now, 4*ejectFor)
	}
	now = r.until + time.Hour
	if r.eject(now, minFailures, ""); r.until-now != ejectFor {
		t.Errorf("after an hour it lasts %v, want %v", r.until-now, ejectFor)
	}
}

// However many backends fail their callers, no more than half are ejected at
// any time, and half are if half fail.
func TestNeverMoreThanHalfAreEjected(t *testing.T) {
	for _, c := range []struct{ backends, bad int }{{1, 1}, {2, 1}, {2, 2}, {3, 2}, {4, 2}, {5, 4}, {10, 5}, {10, 6}, {11, 10}} {
		for _, p := range policies {
			t.Run(fmt.Sprint(c.bad, " of ", c.backends, " ", p), func(t *testing.T) {
				most := 0
				var w *world
				w = newWorld(t, c.backends, p, func(id backend.ID, _ *client) conduct {
					out := 0
					for _, e := range w.Ejections() {
						if e.Ejected {
							out++
						}
					}
					most = max(most, out)
					for i := range c.bad {
						if id == name(i) {
							return closes
						}
					}
					return serves
				})
				all := publishers(300, "s", oneNetwork)
				for _, c := range all {
					c.most = 10
				}
				w.arrive(20*time.Second, all)
				w.run(90 * time.Second)
				if most > c.backends/2 {
					t.Errorf("%d of %d backends ejected at once", most, c.backends)
				}
				if 2*c.bad == c.backends && most != c.bad {
					t.Errorf("%d ejected, though %d of %d fail", most, c.bad, c.backends)
				}
			})
		}
	}
}

// What spoke for an ejection speaks for it no more: the callers fail elsewhere
// as well. It is taken back, and counts as none the next time.
func TestEjectionIsTakenBack(t *testing.T) {
	w := newWorld(t, 5, PolicyHash, nil)
	callers, elsewhere := w.eject()
	const hook = 400 * time.Millisecond
	w.at = w.at.Add(hook - survivedAfter)
	for _, there := range elsewhere {
		w.closed(there, hook)
	}
	if e := w.Ejections()[bad]; e.Ejected || w.records[bad].times != 0 {
		t.Errorf("%+v, %d ejections to be forgiven", e, w.records[bad].times)
	}
	if got := w.taken(10); len(got) != 10 {
		t.Errorf("%d of 10 new streams", len(got))
	}
	for _, c := range callers { // they have shown nothing but that they are denied
		w.place(c)
	}
	if e := w.Ejections()[bad]; e.Ejected {
		t.Errorf("ejected after all: %+v", e)
	}
}
