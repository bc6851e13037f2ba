package balancer

import (
	"hash/maphash"
	"net/netip"
	"time"

	"srtrelay/backend"
)

const (
	// failureTTL is how long a failure is held against a backend, at least; at
	// most twice as long, for it is forgotten a generation at a time.
	failureTTL = time.Minute
	// maxCallers bounds the failures of one generation, maxCallersPerSource those
	// of one source among them: whoever floods the relay with callers that
	// fail displaces nobody else's before the whole is full.
	maxCallers, maxCallersPerSource = 8192, 512
	// maxSources bounds the sources whose living sessions are counted.
	maxSources = 8192
)

// identity is who a caller is to the evidence, hashed with a seed of the
// process: nobody can choose what shares a place with somebody else's.
type identity struct {
	// caller is (key, mode, source): what may be tried again, and counts once.
	caller uint64
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
	seed    maphash.Seed
	callers [2]map[uint64]*callerFailures // this generation's, and the last one's
	per     [2]map[uint64]int             // units by source
	cohorts [2]map[cohort]*tally
	since   time.Duration // when this generation began
}

// tally counts the sessions of a cohort by how long they lived.
type tally struct {
	held   int // for holdsAfter, and have not failed since
	proven int // for provenAfter
	// late says that some failed between the two, as a hook that takes its
	// time makes them: of this cohort holdsAfter says nothing.
	late bool
}

// cohort is the publishers, or the players, of one source.
type cohort struct {
	source  uint64
	publish bool
}

// callerFailures are those of a caller that has failed somewhere.
type callerFailures struct {
	cohort
	failed [4]failure // free where at is ""
}

// failure is what a caller met at one backend.
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
	for g := range e.callers {
		e.callers[g], e.per[g], e.cohorts[g] = map[uint64]*callerFailures{}, map[uint64]int{}, map[cohort]*tally{}
	}
	return e
}

func (e *evidence) identify(q backend.Query) identity {
	source := sourceOf(q.Caller.Addr())
	return identity{
		caller: maphash.Comparable(e.seed, struct {
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
	for n := 0; n < 2 && now-e.since >= failureTTL; n++ {
		e.callers[0], e.callers[1] = map[uint64]*callerFailures{}, e.callers[0]
		e.per[0], e.per[1] = map[uint64]int{}, e.per[0]
		e.cohorts[0], e.cohorts[1] = map[cohort]*tally{}, e.cohorts[0]
		e.since = max(e.since+failureTTL, now-failureTTL)
		turned = true
	}
	return turned
}

// callerOf returns a caller's failures, nil if there are none.
func (e *evidence) callerOf(who identity) *callerFailures {
	if u := e.callers[0][who.caller]; u != nil {
		return u
	}
	return e.callers[1][who.caller]
}

// hasFailed reports whether a caller has lately failed at a backend.
func (e *evidence) hasFailed(who identity, at backend.ID) bool {
	return e.callerOf(who).at(at) != nil
}

// at returns the caller's failure at a backend, nil if there is none. A nil callerFailures
// has none.
func (u *callerFailures) at(id backend.ID) *failure {
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
func (e *evidence) fail(h leased, now, lasted time.Duration) {
	u := e.callerOf(h.who)
	if e.callers[0][h.who.caller] == nil {
		if len(e.callers[0]) >= maxCallers || e.per[0][h.who.source] >= maxCallersPerSource {
			return
		}
		if u == nil {
			u = &callerFailures{cohort: cohort{h.who.source, h.publish}}
		}
		e.callers[0][h.who.caller] = u
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
func (e *evidence) outlive(h *leased, age time.Duration) (news bool) {
	u := e.callerOf(h.who)
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
func (e *evidence) tally(c cohort) *tally {
	t := e.cohorts[0][c]
	if t == nil && len(e.cohorts[0]) < maxSources {
		t = new(tally)
		e.cohorts[0][c] = t
	}
	return t
}

// hold counts a session that has lived for holdsAfter.
func (e *evidence) hold(h *leased) {
	if t := e.tally(cohort{h.who.source, h.publish}); t != nil {
		t.held++
		h.counted = true
	}
}

// unhold takes back a session that held and then failed.
func (e *evidence) unhold(h leased) {
	c := cohort{h.who.source, h.publish}
	if t := e.tally(c); t != nil {
		t.late = true
	}
	for _, all := range e.cohorts {
		if t := all[c]; t != nil && t.held > 0 {
			t.held--
			return
		}
	}
}

// late reports whether holdsAfter says nothing of a cohort.
func (e *evidence) late(c cohort) bool {
	for _, all := range e.cohorts {
		if t := all[c]; t != nil && t.late {
			return true
		}
	}
	return false
}

// living counts the sessions of a cohort that have outlasted a failure, which was
// quick or not.
func (e *evidence) living(c cohort, quick bool) (n int) {
	late := !quick || e.late(c)
	for _, all := range e.cohorts {
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

// decides reports whether a failure of a cohort was the backend's.
func (e *evidence) decides(c cohort, f *failure) bool {
	return f.outlived != "" && (f.outlivedFor >= provenAfter || !e.late(c))
}

// alone returns the one backend at which a caller has failed, nil if there are
// none or several that nothing decides between: then it is the caller.
func (e *evidence) alone(u *callerFailures) (only *failure) {
	for k := range u.failed {
		f := &u.failed[k]
		if f.at == "" || e.decides(u.cohort, f) {
			continue
		}
		if only != nil {
			return nil
		}
		only = f
	}
	return only
}
