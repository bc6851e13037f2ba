package balancer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/message"
)

// maxCount is the most that a restored count may be, so that sums do not overflow.
const maxCount = math.MaxInt32

// decoder reads the snapshot of a Memory into a state of its own.
type decoder struct {
	*message.Reader
	size     int // of the snapshot, which bounds what is allocated before it is read
	backends []backend.ID
	bindings []*binding
	state    *Memory
	keys     []uint64
	used     int // slots
}

// Restore makes this balancer, which has no leases yet, go on as the one that appended
// the snapshot. After an error it is as before. boot is when CLOCK_MONOTONIC was 0, by the
// clock of this process. Policy and the other settings stay this balancer's own.
func (m *Memory) Restore(b []byte, boot time.Time) error {
	r, err := message.ReadVersion(b, snapshotVersion, snapshotVersion)
	if err != nil {
		return fmt.Errorf("snapshot of the balancer: %w", err)
	}
	d := decoder{Reader: &r, size: len(b), state: NewMemory(m.registry, m.now)}
	for r.Next() {
		d.field(boot)
	}
	d.finish()
	if err := r.Err(); err != nil {
		return fmt.Errorf("snapshot of the balancer: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := d.state
	if m.leases.slots.Len() > len(m.leases.free) {
		return errors.New("snapshot of the balancer: leases have been issued already")
	}
	m.origin, m.salt, m.evidence = s.origin, s.salt, s.evidence
	m.bindings, m.leases, m.load = s.bindings, s.leases, s.load
	m.recent, m.young, m.records = s.recent, s.young, s.records
	m.judged, m.unjudged = s.judged, s.unjudged
	if !m.Outliers {
		for _, r := range m.records {
			r.ejected, r.returning = false, false
		}
	}
	return nil
}

// field reads the present field.
func (d *decoder) field(boot time.Time) {
	m := d.state
	switch d.Number() {
	case memoryOrigin:
		m.origin = d.Instant(boot)
	case memorySalt:
		m.salt = d.String()
	case memoryHashKey:
		d.keys = append(d.keys, message.Uint[uint64](d.Reader))
	case memoryBackend:
		d.backends = append(d.backends, backend.ID(d.String()))
	case memoryBindings:
		if d.bindings != nil {
			d.Refuse("the bindings begin twice")
		}
		d.bindings = make([]*binding, 0, d.count())
		m.bindings = newBindings(cap(d.bindings))
	case memoryBinding:
		d.binding()
	case memorySlots:
		if m.leases.slots.Len() > 0 {
			d.Refuse("the leases begin twice")
		}
		m.leases.slots.Extend(d.count())
	case memoryLease:
		d.lease()
	case memoryFree:
		d.free()
	case memoryYoung:
		d.youngSession()
	case memoryRecent:
		d.recentPlacements()
	case memoryRecord:
		d.record()
	case memorySince:
		m.evidence.since = d.age()
	case memoryCaller:
		d.caller()
	case memoryCohort:
		d.cohort()
	case memoryUnjudged:
		m.unjudged = d.Bool()
	case memoryJudged:
		m.judged = d.age()
	}
}

// count returns the number of messages that follow, each of which takes some bytes.
func (d *decoder) count() int {
	n := message.Uint[uint64](d.Reader)
	if n > uint64(d.size)/4 {
		d.Refuse("a count beyond the message")
		return 0
	}
	return int(n)
}

// each calls fn for every field of the message in the present field.
func (d *decoder) each(fn func(*message.Reader)) {
	inner := message.Read(d.Bytes())
	for inner.Next() {
		fn(&inner)
	}
	d.Fail(inner.Err())
}

func (d *decoder) age() time.Duration { return age(d.Reader) }

func age(r *message.Reader) time.Duration { return r.Time(message.Clock{}) }

// small returns a count.
func small(r *message.Reader) int {
	n := message.Uint[uint32](r)
	if n > maxCount {
		r.Refuse("too large a count")
		return 0
	}
	return int(n)
}

// at returns the ID of a backend.
func (d *decoder) at(r *message.Reader) backend.ID {
	k := message.Uint[uint32](r)
	if k == 0 || uint64(k) > uint64(len(d.backends)) {
		r.Refuse("no such backend")
		return ""
	}
	return d.backends[k-1]
}

// bound returns a binding.
func (d *decoder) bound(r *message.Reader) *binding {
	k := message.Uint[uint32](r)
	if k == 0 || uint64(k) > uint64(len(d.bindings)) {
		r.Refuse("no such binding")
		return nil
	}
	return d.bindings[k-1]
}

func (d *decoder) binding() {
	b := new(binding)
	r := message.Read(d.Bytes()) // not by each: there may be a hundred thousand
	for r.Next() {
		switch r.Number() {
		case bindingStream:
			b.stream = r.String()
		case bindingGroup:
			b.group = message.Uint[uint32](&r)
		case bindingEmptied:
			b.emptied = age(&r)
		case bindingOther:
			var other placement
			inner := message.Read(r.Bytes())
			for inner.Next() {
				d.placement(&inner, &other)
			}
			r.Fail(inner.Err())
			b.setOthers(append(b.others(), other))
		default:
			d.placement(&r, &b.current)
		}
	}
	d.Fail(r.Err())
	if key := b.key(); d.state.bindings.of(key) != nil || key == (AffinityKey{}) || b.current.at == "" {
		d.Refuse("a binding without a key of its own or without a backend")
		return
	}
	d.bindings = append(d.bindings, b)
	d.state.bindings.add(b)
}

func (d *decoder) placement(r *message.Reader, p *placement) {
	switch r.Number() {
	case bindingAt:
		p.at = d.at(r)
	case bindingProven:
		p.proven = r.Bool()
	}
}

// finish derives what is not in the snapshot.
func (d *decoder) finish() {
	m := d.state
	now := m.clock()
	if d.used != m.leases.slots.Len() || len(d.keys) != 2 || m.origin.IsZero() || now < 0 || m.recent.isAhead(now) {
		d.Fail(message.ErrDamaged)
		return
	}
	m.evidence.key = hashKey{d.keys[0], d.keys[1]}
	for i := range uint32(m.leases.slots.Len()) {
		l := m.leases.slots.At(i)
		if l.proven {
			m.record(l.at).living++
		}
		if l.trial {
			m.record(l.at).trials++
		}
	}
	for _, b := range d.bindings {
		b.setOthers(slices.DeleteFunc(b.others(), func(p placement) bool { return p.sessions == 0 }))
		if b.sessions() == 0 {
			m.bindings.emptied = append(m.bindings.emptied, emptyBinding{b, b.emptied})
		}
	}
	slices.SortFunc(m.bindings.emptied, func(a, b emptyBinding) int { return int(min(max(a.at-b.at, -1), 1)) })
}
