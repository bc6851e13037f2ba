package balancer

import (
	"hash/maphash"
	"net/netip"
	"time"

	"srtrelay/backend"
)

const (
	// remembered is how long a failure is held against a backend, at least; at
	// most twice as long, for it is forgotten a generation at a time.
	remembered = time.Minute
	// maxUnits bounds the failures of one generation, maxUnitsPerSource those
	// of one source among them: whoever floods the relay with callers that
	// fail displaces nobody else's before the whole is full.
	maxUnits, maxUnitsPerSource = 8192, 512
	// maxSources bounds the sources whose living sessions are counted.
	maxSources = 8192
)

// identity is who a caller is to the evidence, hashed with a seed of the
// process: nobody can choose what shares a place with somebody else's.
type identity struct {
	// unit is (key, mode, source): what may be tried again, and counts once.
	unit uint64
	// source is the caller's network: an IPv4 /24, an IPv6 /56.
	source uint64
	// request is the stream ID as it came. The same stream asked for with
	// another secret is another question, to which a hook may answer
	// otherwise.
	request uint64
}

// sourceOf returns the network that one person may be assumed to own.
func sourceOf(ip netip.Addr) netip.Prefix {
	bits := 56
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	p, _ := ip.WithZone("").Prefix(bits) // the zero Prefix for no address
	return p
}

// evidence is what callers have lately met at backends: which of them failed,
// and how many of each source live.
type evidence struct {
	seed  maphash.Seed
	units [2]map[uint64]*unit // this generation's, and the last one's
	per   [2]map[uint64]int   // units by source
	crowd [2]map[crowd]*tally
	since time.Duration // when this generation began
}

// tally counts the sessions of a crowd by how long they lived.
type tally struct {
	held   int // for holdsAfter, and have not failed since
	proven int // for provenAfter
	// late says that some failed between the two, as a hook that takes its
	// time makes them: of this crowd holdsAfter says nothing.
	late bool
}

// crowd is the publishers, or the players, of one source.
type crowd struct {
	source  uint64
	publish bool
}

// unit is a caller that has failed somewhere.
type unit struct {
	crowd
	failed [4]failure // free where at is ""
}

// failure is what a unit met at one backend.
type failure struct {
	at      backend.ID
	when    time.Duration
	lasted  time.Duration // of its session there, 0 if there was none
	request uint64
	chosen  bool // the relay was free to choose another
	// outlived is where the same request has lived since, for outlivedFor, and
	// outlasted what it met here: the backend failed, not the caller.
	outlived    backend.ID
	outlivedFor time.Duration
}

func newEvidence() evidence {
	e := evidence{seed: maphash.MakeSeed()}
	for g := range e.units {
		e.units[g], e.per[g], e.crowd[g] = map[uint64]*unit{}, map[uint64]int{}, map[crowd]*tally{}
	}
	return e
}

func (e *evidence) identify(q backend.Query) identity {
	source := sourceOf(q.Caller.Addr())
	return identity{
		unit: maphash.Comparable(e.seed, struct {
			key     string
			publish bool
			source  netip.Prefix
		}{q.Key, q.Publish, source}),
		source:  maphash.Comparable(e.seed, source),
		request: maphash.String(e.seed, q.StreamID),
	}
}

// age begins another generation when it is time, and reports whether it has.
func (e *evidence) age(now time.Duration) (turned bool) {
	for n := 0; n < 2 && now-e.since >= remembered; n++ {
		e.units[0], e.units[1] = map[uint64]*unit{}, e.units[0]
		e.per[0], e.per[1] = map[uint64]int{}, e.per[0]
		e.crowd[0], e.crowd[1] = map[crowd]*tally{}, e.crowd[0]
		e.since = max(e.since+remembered, now-remembered)
		turned = true
	}
	return turned
}

// unit returns a caller's failures, nil if there are none.
func (e *evidence) unit(who identity) *unit {
	if u := e.units[0][who.unit]; u != nil {
		return u
	}
	return e.units[1][who.unit]
}

// shuns reports whether a caller has lately failed at a backend.
func (e *evidence) shuns(who identity, at backend.ID) bool {
	return e.unit(who).at(at) != nil
}

// at returns the unit's failure at a backend, nil if there is none. A nil unit
// has none.
func (u *unit) at(id backend.ID) *failure {
	if u == nil {
		return nil
	}
	for k := range u.failed {
		if u.failed[k].at == id && id != "" {
			return &u.failed[k]
		}
	}
	return nil
}

// fail notes that the holder of a lease failed. What it met elsewhere because
// it lived here no longer speaks against the others.
func (e *evidence) fail(h held, now, lasted time.Duration) {
	u := e.unit(h.who)
	if e.units[0][h.who.unit] == nil {
		if len(e.units[0]) >= maxUnits || e.per[0][h.who.source] >= maxUnitsPerSource {
			return
		}
		if u == nil {
			u = &unit{crowd: crowd{h.who.source, h.publish}}
		}
		e.units[0][h.who.unit] = u
		e.per[0][h.who.source]++
	}
	f := u.at(h.at)
	for k := range u.failed {
		o := &u.failed[k]
		if o.outlived == h.at {
			o.outlived = ""
		}
		if f == nil || f.at != h.at && o.when < f.when {
			f = o // a free one, else the oldest
		}
	}
	*f = failure{at: h.at, when: now, lasted: lasted, request: h.who.request, chosen: h.chosen}
}

// outlive notes that the session of a lease has lived for an age. A failure of
// the same request elsewhere was that backend's if it came much sooner. It
// reports whether that is news.
func (e *evidence) outlive(h *held, age time.Duration) (news bool) {
	u := e.unit(h.who)
	if u == nil {
		return false
	}
	for k := range u.failed {
		f := &u.failed[k]
		if f.at != "" && f.at != h.at && f.request == h.who.request && age >= outlasts*f.lasted {
			f.outlived, f.outlivedFor, news = h.at, age, true
		}
	}
	return news
}

// tally returns the counts of this generation, nil if there are too many.
func (e *evidence) tally(c crowd) *tally {
	t := e.crowd[0][c]
	if t == nil && len(e.crowd[0]) < maxSources {
		t = new(tally)
		e.crowd[0][c] = t
	}
	return t
}

// hold counts a session that has lived for holdsAfter.
func (e *evidence) hold(h *held) {
	if t := e.tally(crowd{h.who.source, h.publish}); t != nil {
		t.held++
		h.counted = true
	}
}

// unhold takes back a session that held and then failed.
func (e *evidence) unhold(h held) {
	c := crowd{h.who.source, h.publish}
	if t := e.tally(c); t != nil {
		t.late = true
	}
	for _, all := range e.crowd {
		if t := all[c]; t != nil && t.held > 0 {
			t.held--
			return
		}
	}
}

// late reports whether holdsAfter says nothing of a crowd.
func (e *evidence) late(c crowd) bool {
	for _, all := range e.crowd {
		if t := all[c]; t != nil && t.late {
			return true
		}
	}
	return false
}

// living counts the sessions of a crowd that have outlasted a failure, which was
// quick or not.
func (e *evidence) living(c crowd, quick bool) (n int) {
	late := !quick || e.late(c)
	for _, all := range e.crowd {
		switch t := all[c]; {
		case t == nil:
		case late:
			n += t.proven
		default:
			n += t.held
		}
	}
	return n
}

// decides reports whether a failure of a crowd was the backend's.
func (e *evidence) decides(c crowd, f *failure) bool {
	return f.outlived != "" && (f.outlivedFor >= provenAfter || !e.late(c))
}

// alone returns the one backend at which a unit has failed, nil if there are
// none or several that nothing decides between: then it is the caller.
func (e *evidence) alone(u *unit) (only *failure) {
	for k := range u.failed {
		f := &u.failed[k]
		if f.at == "" || e.decides(u.crowd, f) {
			continue
		}
		if only != nil {
			return nil
		}
		only = f
	}
	return only
}
