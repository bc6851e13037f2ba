package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/golden"
	"srtrelay/internal/message"
)

// boot is when CLOCK_MONOTONIC was 0, by the clock of a stand.
var boot = time.Unix(990_000, 0)

// takeOver returns a stand that has taken over: its clock shows another time of day.
func (s *stand) takeOver(ahead time.Duration) *stand {
	s.Helper()
	next := &stand{T: s.T, reg: s.reg, at: s.at.Add(ahead)}
	next.Memory = NewMemory(s.reg, func() time.Time { return next.at })
	next.Outliers = s.Outliers
	if err := next.Restore(s.AppendSnapshot(nil, boot), boot.Add(ahead)); err != nil {
		s.Fatal(err)
	}
	return next
}

// crowd is what happens to the sessions of a stand, at random.
type crowd struct {
	*rand.Rand
	leases []backend.Target
	begun  map[backend.Lease]time.Time
}

// step does the same to all stands, which must agree.
func (c *crowd) step(t *testing.T, stands ...*stand) {
	t.Helper()
	q := backend.Query{
		Key: fmt.Sprintf("live/s%d", c.IntN(40)), Publish: c.IntN(3) == 0,
		Caller:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(c.IntN(20)), 1}), 5000),
		StreamID: fmt.Sprint("id", c.IntN(40)),
	}
	if c.IntN(5) == 0 {
		q.Group = 1 + c.Uint32N(8)
	}
	ahead := time.Duration(c.IntN(400)) * time.Millisecond
	for _, s := range stands {
		s.at = s.at.Add(ahead)
	}
	if len(c.leases) == 0 || c.IntN(100) < 45 {
		var first backend.Target
		for i, s := range stands {
			got, err := s.Pick(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = got
			} else if got != first {
				t.Fatalf("%+v goes to %+v, and to %+v after the take-over", q, first, got)
			}
		}
		c.leases = append(c.leases, first)
		return
	}
	k := c.IntN(len(c.leases))
	at := c.leases[k].ID
	o := backend.Outcome{Lease: c.leases[k].Lease, Fate: backend.FateBegan}
	if began, is := c.begun[o.Lease]; is {
		o.Lasted = stands[0].at.Sub(began)
		o.Fate = []backend.Fate{backend.FateEnded, backend.FateClosed, backend.FateSilent}[c.IntN(3)]
	} else if at == name(3) && c.IntN(10) > 0 {
		o.Fate = backend.FateRefused // it fails its callers as others do not
	} else if c.IntN(10) == 0 {
		o.Fate = []backend.Fate{backend.FateUnused, backend.FateRefused, backend.FateSilent, backend.FateDenied}[c.IntN(4)]
	} else {
		c.begun[o.Lease] = stands[0].at
	}
	if o.Fate != backend.FateBegan {
		c.leases = slices.Delete(c.leases, k, k+1)
	}
	for _, s := range stands {
		s.Report(o)
	}
}

// compare checks that two stands would say the same of themselves.
func compare(t *testing.T, a, b *stand, ahead time.Duration) {
	t.Helper()
	sorted := func(all []Binding) []Binding {
		slices.SortFunc(all, func(a, b Binding) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		return all
	}
	if x, y := sorted(a.Bindings()), sorted(b.Bindings()); !reflect.DeepEqual(x, y) {
		t.Fatalf("bindings\n%v\nafter the take-over\n%v", x, y)
	}
	if x, y := a.Loads(), b.Loads(); !reflect.DeepEqual(x, y) {
		t.Fatalf("loads %v, after the take-over %v", x, y)
	}
	x, y := a.Ejections(), b.Ejections()
	for id, e := range x {
		if e.Ejected {
			e.Until = e.Until.Add(ahead)
		}
		if y[id] != e {
			t.Fatalf("%s: %+v, after the take-over %+v", id, e, y[id])
		}
	}
	for _, s := range []*stand{a, b} {
		for bound := range s.bindings.all() {
			bound.index = 0
		}
	}
	if !reflect.DeepEqual(a.leases.slots, b.leases.slots) || !slices.Equal(a.leases.free, b.leases.free) {
		t.Fatal("the leases differ")
	}
	if !reflect.DeepEqual(a.records, b.records) || !reflect.DeepEqual(a.recent, b.recent) {
		t.Fatal("the records or the recent placements differ")
	}
	for k := range a.young {
		if !slices.Equal(a.young[k], b.young[k]) {
			t.Fatalf("the young sessions differ: %v, after the take-over %v", a.young[k], b.young[k])
		}
	}
}

// A balancer that takes over does what the one before would have done, whatever happens.
func TestTakeOverChangesNothing(t *testing.T) {
	ejections := 0
	for seed := range uint64(20) {
		old := newStand(t, 4)
		old.reg.MarkAlive(name(0), 0, old.at)
		c := &crowd{Rand: rand.New(rand.NewPCG(seed, 1)), begun: map[backend.Lease]time.Time{}}
		for range 300 + c.IntN(200) {
			c.step(t, old)
		}
		ahead := time.Duration(c.Int64N(int64(1000 * time.Hour)))
		next := old.takeOver(ahead)
		compare(t, old, next, ahead)
		for range 400 {
			c.step(t, old, next)
		}
		compare(t, old, next, ahead)
		for _, e := range next.Ejections() {
			ejections += int(e.Times)
		}
	}
	if ejections == 0 {
		t.Error("no backend was ever ejected: the test shows too little")
	}
}

func TestEjectionsOutliveATakeOver(t *testing.T) {
	s := newStand(t, 2)
	s.records[name(1)] = &record{ejected: true, total: 3, times: 2, since: s.clock(), until: s.clock() + time.Minute, why: "it fails"}
	next := s.takeOver(time.Hour)
	if e := next.Ejections()[name(1)]; !e.Ejected || e.Times != 3 || e.Why != "it fails" || !e.Until.Equal(next.at.Add(time.Minute)) {
		t.Errorf("%+v", e)
	}
	for range 10 {
		if got := next.pick(fmt.Sprint("new", next.keys), 0); got.ID != name(0) {
			t.Fatalf("a new stream goes to the ejected backend")
		}
		next.keys++
	}
	if s.Outliers = false; s.takeOver(0).Ejections()[name(1)].Ejected {
		t.Error("ejected without outlier detection")
	}
}

func TestReleaseExcept(t *testing.T) {
	s := newStand(t, 3)
	var held []backend.Lease
	for i := range 30 {
		l := s.pick(fmt.Sprint("k", i), uint32(i%4)).Lease
		if s.Report(backend.Outcome{Lease: l, Fate: backend.FateBegan}); i%3 == 0 {
			held = append(held, l)
		}
	}
	next := s.takeOver(time.Hour)
	n, dropped := next.ReleaseExcept(func(l backend.Lease) bool { return slices.Contains(held, l) })
	if n != 20 || len(dropped) == 0 {
		t.Errorf("%d leases released, %d bindings dropped", n, len(dropped))
	}
	if len(next.recent) > 0 {
		t.Errorf("%v count as placements that failed soon", next.recent)
	}
	left := 0
	for _, l := range next.Loads() {
		left += l.Sessions
	}
	if left != len(held) {
		t.Errorf("%d sessions left of %d", left, len(held))
	}
	for _, l := range held {
		next.Report(backend.Outcome{Lease: l, Fate: backend.FateEnded, Lasted: time.Hour})
	}
	if loads := next.Loads(); len(loads) > 0 {
		t.Errorf("left %v", loads)
	}
	// A lease that was released is not mistaken for its successor.
	fresh := next.pick("fresh", 0).Lease
	if slices.Contains(held, fresh) {
		t.Errorf("lease %d was issued twice", fresh)
	}
	if next.Restore(s.AppendSnapshot(nil, boot), boot) == nil {
		t.Error("restored over leases")
	}
}

// goldenFile has a snapshot of version 1 as it was first written.
const goldenFile = "testdata/snapshot-1.hex"

func TestGoldenSnapshot(t *testing.T) {
	s := newStand(t, 2)
	s.salt, s.evidence.key = "salt", hashKey{1, 2}
	s.at = s.at.Add(time.Minute)
	q := backend.Query{Key: "live/a", Group: 7, Publish: true, Caller: netip.MustParseAddrPort("10.0.0.1:9"), StreamID: "a"}
	l, err := s.Pick(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	s.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateBegan})
	q = backend.Query{Key: "live/b", Caller: q.Caller, StreamID: "b"}
	failing, _ := s.Pick(t.Context(), q)
	s.Report(backend.Outcome{Lease: failing.Lease, Fate: backend.FateRefused})
	s.at = s.at.Add(3 * time.Second)
	s.pick("live/c", 0)
	old := golden.Hex(t, goldenFile, func() []byte { return s.AppendSnapshot(nil, boot) })
	next := &stand{T: t, reg: s.reg, at: s.at}
	next.Memory = NewMemory(s.reg, func() time.Time { return next.at })
	if err := next.Restore(old, boot); err != nil {
		t.Fatal(err)
	}
	compare(t, s, next, 0)
	if !reflect.DeepEqual(s.evidence, next.evidence) || s.salt != next.salt || !s.origin.Equal(next.origin) {
		t.Error("the evidence, the salt or the origin differ")
	}
}

func TestDamagedSnapshots(t *testing.T) {
	s := newStand(t, 3)
	for i := range 10 {
		s.pick(fmt.Sprint("k", i), uint32(i%3))
	}
	good := s.AppendSnapshot(nil, boot)
	for name, b := range map[string][]byte{
		"empty":         nil,
		"other version": message.AppendVersion(nil, 99),
		"half":          good[:len(good)/2],
		"no origin":     message.AppendVersion(nil, 1),
		"many slots":    message.AppendUint(slices.Clone(good), memorySlots, uint64(1<<40)),
		"lease twice":   append(slices.Clone(good), good[2:]...),
	} {
		next := NewMemory(s.reg, time.Now)
		err := next.Restore(b, boot)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the balancer: ") {
			t.Errorf("%s: %v", name, err)
		}
		if len(next.Loads()) > 0 || next.evidence.key == s.evidence.key {
			t.Errorf("%s: changed the balancer", name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenFile, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStand(t, 2)
		if s.Restore(b, boot) != nil {
			return
		}
		// What can be restored can be used, and handed on.
		for i := range 3 {
			l, err := s.Pick(t.Context(), backend.Query{Key: fmt.Sprint("live/", i), Group: uint32(i)})
			if err == nil {
				s.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateRefused})
			}
		}
		s.at = s.at.Add(time.Minute)
		s.Ejections()
		if len(s.bindings.emptied) > 0 {
			s.at = s.at.Add(time.Hour)
		}
		next := NewMemory(s.reg, func() time.Time { return s.at })
		if err := next.Restore(s.AppendSnapshot(nil, boot), boot); err != nil {
			t.Fatal(err)
		}
		next.ReleaseExcept(func(backend.Lease) bool { return false })
		if loads := next.Loads(); len(loads) > 0 {
			t.Fatalf("%v", loads)
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	reg := backend.NewRegistry()
	for i := range 20 {
		reg.Put(backend.Backend{ID: name(i), Addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1+i))})
	}
	m := NewMemory(reg, time.Now)
	const sessions = 100_000
	for i := range sessions {
		q := backend.Query{Key: fmt.Sprintf("__defaultVhost__/live/stream-%d", i/2), Publish: i%2 == 0, StreamID: "#!::r=live/stream"}
		l, err := m.Pick(b.Context(), q)
		if err != nil {
			b.Fatal(err)
		}
		m.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateBegan})
	}
	text := m.AppendSnapshot(nil, boot)
	b.Run("append", func(b *testing.B) {
		buffer := make([]byte, 0, 2*len(text))
		b.ReportMetric(float64(len(text)), "bytes")
		for b.Loop() {
			m.AppendSnapshot(buffer, boot)
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := NewMemory(reg, time.Now).Restore(text, boot); err != nil {
				b.Fatal(err)
			}
		}
	})
}
