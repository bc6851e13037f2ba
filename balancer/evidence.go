package balancer

import (
	crand "crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/dchest/siphash"

	"srtrelay/backend"
)

const (
	// failureTTL is the least time for which a failure is kept. It is kept for at
	// most twice as long, because failures are forgotten a generation at a time.
	failureTTL = time.Minute
	// maxCallers bounds the callers of one generation, maxCallersPerSource those
	// of one source among them, so that a flood of failing callers from one
	// network does not displace the failures of others.
	maxCallers, maxCallersPerSource = 8192, 512
	// maxCohorts bounds the cohorts of one generation.
	maxCohorts = 8192
	// survivalFactor is how many times as long as the failed session another
	// session must have lived to show that the backend failed, not the caller.
	survivalFactor = 3
)

// identity is what the evidence knows of a caller. The hashes have a secret key, so that
// nobody can choose a caller that collides with another one.
type identity struct {
	// caller is the hash of key, mode and source.
	caller uint64
	// source is the hash of the caller's network: an IPv4 /24 or an IPv6 /56.
	source uint64
	// request is the hash of the stream ID as it came. The same stream with
	// another secret is another request: a hook may answer it otherwise.
	request uint64
}

// sourceOf returns the network of an address, which one person is assumed to own.
func sourceOf(ip netip.Addr) netip.Prefix {
	bits := 56
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	p, _ := ip.WithZone("").Prefix(bits) // the zero Prefix for no address
	return p
}

// evidence says which callers have recently failed at which backends, and how many
// sessions of each cohort have survived. Of each pair of maps the first is of the
// present generation, the second of the one before.
type evidence struct {
	key       hashKey
	callers   [2]map[uint64]*callerFailures
	perSource [2]map[uint64]int // callers
	cohorts   [2]map[cohort]*survivors
	since     time.Duration // when the present generation began
}

// cohort is the publishers, or the players, of one source.
type cohort struct {
	source  uint64
	publish bool
}

// survivors counts the sessions of a cohort by how long they have lived.
type survivors struct {
	survived int // for survivedAfter, without a failure since
	proven   int // for provenAfter
	// slowHook means that a session failed after survivedAfter, as a slow hook
	// makes it. Then survived says nothing about this cohort.
	slowHook bool
}

// callerFailures are the failures of one caller.
type callerFailures struct {
	cohort
	failures [4]failure // unused where at is ""
}

// failure is how a caller failed at one backend.
type failure struct {
	at      backend.ID
	when    time.Duration
	lasted  time.Duration // the session there, 0 if there was none
	request uint64
	chosen  bool // the relay was free to choose another backend
	// survivedAt is the backend where a session of the same request has since
	// survived, for survivedFor, which is survivalFactor times as long as here.
	survivedAt  backend.ID
	survivedFor time.Duration
}

func newEvidence() evidence {
	e := evidence{key: newHashKey()}
	for g := range e.callers {
		e.callers[g], e.perSource[g], e.cohorts[g] = map[uint64]*callerFailures{}, map[uint64]int{}, map[cohort]*survivors{}
	}
	return e
}

func (e *evidence) identify(q backend.Query) identity {
	text := make([]byte, 0, 256)
	text = appendNetwork(text, sourceOf(q.Caller.Addr()))
	source := e.key.hash(text)
	mode := byte(0)
	if q.Publish {
		mode = 1
	}
	text = append(append(text, mode), q.Key...)
	caller := e.key.hash(text)
	return identity{caller: caller, source: source, request: e.key.hash(append(text[:0], q.StreamID...))}
}

// appendNetwork appends a network in a fixed number of bytes.
func appendNetwork(b []byte, network netip.Prefix) []byte {
	ip := network.Addr().As16()
	return append(append(b, ip[:]...), byte(network.Bits()))
}

// hashKey is the key of the hashes in the evidence. A process that takes over needs it,
// which hash/maphash would not tell.
type hashKey struct{ k0, k1 uint64 }

func newHashKey() hashKey {
	var random [16]byte
	_, _ = crand.Read(random[:]) // never fails (crypto/rand, Go 1.24)
	return hashKey{binary.LittleEndian.Uint64(random[:8]), binary.LittleEndian.Uint64(random[8:])}
}

func (k hashKey) hash(text []byte) uint64 { return siphash.Hash(k.k0, k.k1, text) }

// rotate begins a generation if the present one is older than failureTTL, and
// reports whether it did.
func (e *evidence) rotate(now time.Duration) (rotated bool) {
	for n := 0; n < 2 && now-e.since >= failureTTL; n++ {
		e.callers[0], e.callers[1] = map[uint64]*callerFailures{}, e.callers[0]
		e.perSource[0], e.perSource[1] = map[uint64]int{}, e.perSource[0]
		e.cohorts[0], e.cohorts[1] = map[cohort]*survivors{}, e.cohorts[0]
		e.since = max(e.since+failureTTL, now-failureTTL)
		rotated = true
	}
	return rotated
}

// failuresOf returns the failures of a caller, nil if there are none.
func (e *evidence) failuresOf(who identity) *callerFailures {
	if c := e.callers[0][who.caller]; c != nil {
		return c
	}
	return e.callers[1][who.caller]
}

// hasFailed reports whether a caller has recently failed at a backend.
func (e *evidence) hasFailed(who identity, at backend.ID) bool {
	return e.failuresOf(who).at(at) != nil
}

// at returns the failure at a backend, nil if there is none. c may be nil.
func (c *callerFailures) at(id backend.ID) *failure {
	if c == nil {
		return nil
	}
	for k := range c.failures {
		if c.failures[k].at == id && id != "" {
			return &c.failures[k]
		}
	}
	return nil
}

// noteFailure notes that the session of a lease has failed. That it survived here
// before no longer blames other backends.
func (e *evidence) noteFailure(l leased, now, lasted time.Duration) {
	c := e.failuresOf(l.who)
	if e.callers[0][l.who.caller] == nil {
		if len(e.callers[0]) >= maxCallers || e.perSource[0][l.who.source] >= maxCallersPerSource {
			return
		}
		if c == nil {
			c = &callerFailures{cohort: l.cohort()}
		}
		e.callers[0][l.who.caller] = c
		e.perSource[0][l.who.source]++
	}
	f := c.at(l.at)
	for k := range c.failures {
		other := &c.failures[k]
		if other.survivedAt == l.at {
			other.survivedAt = ""
		}
		if f == nil || f.at != l.at && other.when < f.when {
			f = other // an unused one, else the oldest
		}
	}
	*f = failure{at: l.at, when: now, lasted: lasted, request: l.who.request, chosen: l.chosen}
}

// noteSurvival notes that the session of a lease has lived for an age, which blames
// the other backends where the same request failed much sooner. It reports whether
// there are any.
func (e *evidence) noteSurvival(l *leased, age time.Duration) (news bool) {
	c := e.failuresOf(l.who)
	if c == nil {
		return false
	}
	for k := range c.failures {
		f := &c.failures[k]
		if f.at != "" && f.at != l.at && f.request == l.who.request && age >= survivalFactor*f.lasted {
			f.survivedAt, f.survivedFor, news = l.at, age, true
		}
	}
	return news
}

// survivors returns the present generation's counts of a cohort, nil if there are
// too many cohorts.
func (e *evidence) survivors(c cohort) *survivors {
	s := e.cohorts[0][c]
	if s == nil && len(e.cohorts[0]) < maxCohorts {
		s = new(survivors)
		e.cohorts[0][c] = s
	}
	return s
}

// countSurvivor counts a session that has lived for survivedAfter.
func (e *evidence) countSurvivor(l *leased) {
	if s := e.survivors(l.cohort()); s != nil {
		s.survived++
		l.survived = true
	}
}

// discountSurvivor takes back a counted session that then failed.
func (e *evidence) discountSurvivor(l leased) {
	c := l.cohort()
	if s := e.survivors(c); s != nil {
		s.slowHook = true
	}
	for _, cohorts := range e.cohorts {
		if s := cohorts[c]; s != nil && s.survived > 0 {
			s.survived--
			return
		}
	}
}

// hasSlowHook reports whether a session of a cohort failed after survivedAfter.
func (e *evidence) hasSlowHook(c cohort) bool {
	for _, cohorts := range e.cohorts {
		if s := cohorts[c]; s != nil && s.slowHook {
			return true
		}
	}
	return false
}

// countSurvivors counts the sessions of a cohort that have lived long enough to be
// compared with a failure, which was quick or not.
func (e *evidence) countSurvivors(c cohort, quick bool) (n int) {
	provenOnly := !quick || e.hasSlowHook(c)
	for _, cohorts := range e.cohorts {
		switch s := cohorts[c]; {
		case s == nil:
		case provenOnly:
			n += s.proven
		default:
			n += s.survived
		}
	}
	return n
}

// blamesBackend reports whether a failure is certainly the backend's, because the
// same request has survived elsewhere.
func (e *evidence) blamesBackend(c cohort, f *failure) bool {
	return f.survivedAt != "" && (f.survivedFor >= provenAfter || !e.hasSlowHook(c))
}

// onlyUnexplained returns the one failure of a caller that is not certainly the
// backend's. It is nil if there is none or if there are several: then the caller is
// at fault.
func (e *evidence) onlyUnexplained(c *callerFailures) (only *failure) {
	for k := range c.failures {
		f := &c.failures[k]
		if f.at == "" || e.blamesBackend(c.cohort, f) {
			continue
		}
		if only != nil {
			return nil
		}
		only = f
	}
	return only
}
