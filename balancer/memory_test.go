package balancer

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stand is a balancer over n backends b0, b1, ... with a clock that stands.
type stand struct {
	*testing.T
	*Memory
	reg  *backend.Registry
	at   time.Time
	keys int
}

func newStand(t *testing.T, n int) *stand {
	s := &stand{T: t, reg: backend.NewRegistry(), at: time.Unix(1_000_000, 0)}
	for i := range n {
		s.reg.Put(backend.Backend{ID: name(i), Addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1+i))})
	}
	s.Memory = NewMemory(s.reg, func() time.Time { return s.at })
	return s
}

// Release ends a session that was established and lived.
func (s *stand) Release(l backend.Lease) {
	s.Report(backend.Outcome{Lease: l, Fate: backend.FateBegan})
	s.Report(backend.Outcome{Lease: l, Fate: backend.FateEnded, Lasted: time.Hour})
}

func name(i int) backend.ID { return backend.ID(fmt.Sprintf("b%d", i)) }

func (s *stand) pick(key string, group uint32) backend.Target {
	s.Helper()
	t, err := s.Pick(s.Context(), backend.Query{Key: key, Group: group})
	if err != nil {
		s.Fatalf("%s, group %d: %v", key, group, err)
	}
	b, ok := s.reg.Snapshot().Find(t.ID)
	if !ok || b.Down || b.Addr != t.Addr || t.Lease == 0 {
		s.Fatalf("%s, group %d: %+v, which is %+v", key, group, t, b)
	}
	return t
}

// expect picks for a key and checks where it is put.
func (s *stand) expect(key string, group uint32, want backend.ID, why string) backend.Target {
	s.Helper()
	t := s.pick(key, group)
	if t.ID != want {
		s.Fatalf("%s: %s, group %d is at %s, want %s", why, key, group, t.ID, want)
	}
	return t
}

// keyAt returns a new key that now stays at a backend.
func (s *stand) keyAt(id backend.ID) (string, backend.Target) {
	s.Helper()
	for range 1000 {
		s.keys++
		key := fmt.Sprint("key", s.keys)
		t := s.pick(key, 0)
		if t.ID == id {
			return key, t
		}
		s.Release(t.Lease)
	}
	s.Fatalf("no key in 1000 is put at %s", id)
	return "", backend.Target{}
}

func TestOneStreamOneBackend(t *testing.T) {
	s := newStand(t, 7)
	leases := map[backend.Lease]bool{}
	boundTo := map[string]backend.ID{}
	for i := range 700 {
		key := fmt.Sprintf("k%d", i%20)
		got := s.pick(key, 0)
		if home, ok := boundTo[key]; ok && home != got.ID {
			t.Fatalf("%s is at %s and %s", key, home, got.ID)
		}
		boundTo[key] = got.ID
		if leases[got.Lease] {
			t.Fatalf("lease %d was given twice", got.Lease)
		}
		leases[got.Lease] = true
	}
}

func TestLeastSessionsSpread(t *testing.T) {
	s := newStand(t, 7)
	const keys = 1000
	for i := range keys {
		s.pick(fmt.Sprint("stream", i), 0)
	}
	loads := s.Loads()
	if len(loads) != 7 {
		t.Fatalf("%d backends carry something", len(loads))
	}
	for id, l := range loads {
		if l.Sessions != l.Streams || l.Sessions < keys/7*8/10 || l.Sessions > keys/7*12/10 {
			t.Errorf("%s carries %+v of %d", id, l, keys)
		}
	}
}

// What counts are sessions: a stream with many players keeps others away.
func TestTheLeastLoadedIsTaken(t *testing.T) {
	s := newStand(t, 2)
	crowd := s.pick("crowd", 0)
	for range 9 {
		s.pick("crowd", 0)
	}
	for i := range 10 {
		if got := s.pick(fmt.Sprint("quiet", i), 0); got.ID == crowd.ID {
			t.Fatalf("stream %d was put beside the crowd", i)
		}
	}
	want := map[backend.ID]Load{crowd.ID: {Sessions: 10, Streams: 1}, other(crowd.ID): {Sessions: 10, Streams: 10}}
	if got := s.Loads(); !maps.Equal(got, want) {
		t.Errorf("loads %v, want %v", got, want)
	}
}

func other(id backend.ID) backend.ID { return map[backend.ID]backend.ID{"b0": "b1", "b1": "b0"}[id] }

// The first streams of several relays, or after a restart, must not all meet
// on the first backend of the list.
func TestEqualsAreSpreadByKey(t *testing.T) {
	s := newStand(t, 3)
	seen := map[backend.ID]int{}
	for i := range 300 {
		got := s.pick(fmt.Sprint("k", i), 0)
		seen[got.ID]++
		s.Release(got.Lease)
	}
	for i := range 3 {
		if seen[name(i)] < 50 {
			t.Errorf("%s got %d of 300 lone streams", name(i), seen[name(i)])
		}
	}
}

func TestGroupStaysTogether(t *testing.T) {
	s := newStand(t, 2)
	a, _ := s.keyAt("b0")
	b, _ := s.keyAt("b1")
	first := s.expect(a, 9, "b0", "a group's first member goes to its stream")
	s.expect(b, 9, "b0", "a member with another stream")
	s.expect("new", 9, "b0", "a member with a new stream")
	s.expect("new", 0, "b0", "a player of the stream that a member brought")
	s.expect(b, 0, "b1", "the other stream was not moved by the member")
	s.expect(b, 10, "b1", "another group")
	s.Release(first.Lease)
	s.expect("late", 9, "b0", "a member after the first has left")
	if got := s.Loads()["b0"].Streams; got != 3 {
		t.Errorf("%d streams at b0, want 3: groups are none", got)
	}
}

func TestGroupOfAFallenBackendMoves(t *testing.T) {
	s := newStand(t, 2)
	a, _ := s.keyAt("b0")
	s.expect(a, 9, "b0", "first member")
	s.reg.MarkDown("b0")
	s.expect(a, 9, "b1", "its backend is down")
	s.reg.MarkAlive("b0", 0, time.Time{})
	s.expect(a, 9, "b1", "its old backend is back")
	s.expect("other", 9, "b1", "its old backend is back")
}

// The bug: a member whose backend answered late, or had missed three probes, was sent to
// another one, which opened a group of its own for it.
func TestMemberGoesNowhereWithoutItsGroup(t *testing.T) {
	s := newStand(t, 2)
	a, _ := s.keyAt("b0")
	first := s.expect(a, 9, "b0", "first member")
	second := backend.Query{Key: a, Group: 9, Tried: [2]backend.ID{"b0"}}
	refused := func(q backend.Query, when string) {
		t.Helper()
		if got, err := s.ask(q); !errors.Is(err, backend.ErrNone) {
			t.Errorf("%s: a member is sent to %q, %v", when, got.ID, err)
		}
	}
	s.Report(backend.Outcome{Lease: first.Lease, Fate: backend.FateBegan})
	refused(second, "its backend is silent")
	s.reg.MarkDownQuiet("b0")
	refused(backend.Query{Key: "other", Group: 9}, "its backend is down")
	s.reg.MarkAlive("b0", 0, time.Time{})
	s.expect("other", 9, "b0", "its backend is back")
	s.reg.MarkDownQuiet("b0")
	s.Report(backend.Outcome{Lease: first.Lease, Fate: backend.FateEnded, Lasted: time.Hour})
	s.expect(a, 9, "b1", "its group has ended")
}

// A backend that is certainly gone holds no group.
func TestGroupOfAGoneBackendMoves(t *testing.T) {
	s := newStand(t, 2)
	a, _ := s.keyAt("b0")
	s.Report(backend.Outcome{Lease: s.expect(a, 9, "b0", "first member").Lease, Fate: backend.FateBegan})
	s.reg.MarkDown("b0")
	s.expect(a, 9, "b1", "its backend is gone")
}

func TestStreamOfAFallenBackendMovesAndStays(t *testing.T) {
	s := newStand(t, 2)
	key, old := s.keyAt("b0")
	s.reg.MarkDown("b0")
	moved := s.expect(key, 0, "b1", "its backend is down")
	s.reg.MarkAlive("b0", 0, time.Time{})
	s.expect(key, 0, "b1", "its old backend is back")
	if got := s.Loads(); got["b0"] != (Load{Sessions: 1}) || got["b1"] != (Load{Sessions: 2, Streams: 1}) {
		t.Errorf("loads %v", got)
	}
	s.Release(old.Lease)
	s.Release(moved.Lease)
	s.expect(key, 0, "b1", "its old session has ended")

	s.reg.Remove("b1")
	s.expect(key, 0, "b0", "its backend is gone")
}

func TestNoBackend(t *testing.T) {
	s := newStand(t, 0)
	fails := func(when string) {
		t.Helper()
		got, err := s.Pick(t.Context(), backend.Query{Key: "k", Group: 3})
		if !errors.Is(err, backend.ErrNone) || got != (backend.Target{}) {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
	}
	fails("an empty registry")
	s.reg.Put(backend.Backend{ID: "b0", Down: true})
	fails("a backend that is down")
	if len(s.Loads()) != 0 || s.leases.len() != 0 || s.bindings.count != 0 {
		t.Errorf("a failed pick left %v, %d leases, %d bindings", s.Loads(), s.leases.len(), s.bindings.count)
	}
	s.reg.MarkAlive("b0", 0, s.at)
	s.expect("k", 3, "b0", "it is back")
}

func TestRelease(t *testing.T) {
	s := newStand(t, 2)
	a, b := s.pick("k", 0), s.pick("k", 0)
	s.Release(0)
	s.Release(b.Lease + 1)
	s.Release(a.Lease)
	s.Release(a.Lease) // not b's
	if got := s.Loads()[a.ID]; got != (Load{Sessions: 1, Streams: 1}) {
		t.Errorf("after a double release: %+v", got)
	}
	s.Release(b.Lease)
	if got := s.Loads(); len(got) != 0 {
		t.Errorf("after the last: %v", got)
	}
}

// A publisher that reconnects finds its stream where it was, even when another
// backend has become the better choice.
func TestLinger(t *testing.T) {
	s := newStand(t, 2)
	key, got := s.keyAt("b0")
	s.Release(got.Lease)
	lone, got := s.keyAt("b0")
	s.Release(got.Lease)
	s.keyAt("b0") // from now on b1 has fewer sessions
	s.at = s.at.Add(defaultAffinity - time.Nanosecond)
	got = s.expect(key, 0, "b0", "within Linger")
	s.at = s.at.Add(time.Hour)
	s.expect(key, 0, "b0", "a stream with a session does not age")
	s.Release(got.Lease)
	s.at = s.at.Add(time.Hour)
	s.expect(key, 0, "b0", "one session is left")
	s.expect(lone, 0, "b1", "Linger is over")
}

// Homes of a million past streams must not stay, nor the list by which they
// are forgotten.
func TestForgetting(t *testing.T) {
	s := newStand(t, 3)
	for i := range 500 {
		s.Release(s.pick(fmt.Sprint("k", i), uint32(i)).Lease)
	}
	kept := s.pick("kept", 1<<30)
	if n := s.bindings.count; n != 500+499+2 {
		t.Errorf("%d bindings", n)
	}
	s.at = s.at.Add(defaultAffinity - time.Nanosecond)
	s.Release(s.pick("k7", 0).Lease)
	s.at = s.at.Add(time.Nanosecond)
	s.pick("new", 0)
	if n := s.bindings.count; n != 4 {
		t.Errorf("%d bindings, want the stream and group of one session, the stream that came back, and the new one", n)
	}
	if n := len(s.bindings.emptied); n != 1 {
		t.Errorf("%d empty bindings are kept for one", n)
	}
	s.expect("kept", 0, kept.ID, "forgotten while in use")
}

// For the race detector, and for the sums at the end.
func TestManyGoroutines(t *testing.T) {
	s := newStand(t, 5)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				got, err := s.Pick(t.Context(), backend.Query{Key: fmt.Sprint("k", i%17), Group: uint32(i % 3)})
				if err == nil {
					s.Release(got.Lease)
				}
				if g == 0 {
					s.reg.MarkDown(name(i % 5))
					s.reg.MarkAlive(name((i+3)%5), 0, time.Time{})
					s.Loads()
				}
			}
		})
	}
	wg.Wait()
	if len(s.Loads()) != 0 || s.leases.len() != 0 {
		t.Errorf("left: %v, %d leases", s.Loads(), s.leases.len())
	}
}

// A report that nobody has confirmed keeps new streams away while there are
// others, and moves none.
func TestSuspectKeepsWhatItHas(t *testing.T) {
	r := backend.NewRegistry()
	now := time.Unix(1000, 0)
	for _, id := range []backend.ID{"a", "b"} {
		r.Put(backend.Backend{ID: id})
	}
	m := NewMemory(r, func() time.Time { return now })
	pick := func(key string) backend.ID {
		target, err := m.Pick(t.Context(), backend.Query{Key: key, Publish: true})
		if err != nil {
			t.Fatal(err)
		}
		return target.ID
	}
	home := pick("live/1")
	if !r.Suspect(home) || r.Suspect(home) {
		t.Error("the first doubt, and only it, is news")
	}
	if got := pick("live/1"); got != home {
		t.Errorf("the stream moved to %s", got)
	}
	for i := range 5 {
		if got := pick(fmt.Sprint("new/", i)); got == home {
			t.Errorf("a new stream went to %s, which is in doubt", got)
		}
	}
	other := backend.ID("a")
	if home == "a" {
		other = "b"
	}
	r.MarkDown(other)
	if got := pick("last"); got != home {
		t.Errorf("got %s, want the suspect, as there is no other", got)
	}
	r.MarkAlive(home, 0, now)
	if b, _ := r.Snapshot().Find(home); b.Suspect {
		t.Error("an answer does not acquit")
	}
}
