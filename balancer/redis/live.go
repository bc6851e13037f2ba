package redis

import (
	"strings"
	"sync"

	"srtrelay/backend"
	"srtrelay/balancer"
)

const (
	// maxLive is how many live bindings are kept at most.
	maxLive = 100_000
	// maxLiveKeyBytes is how many bytes their keys may have together.
	maxLiveKeyBytes = 16 << 20
	// announceRounds is after how many rounds a binding is announced again, by one of
	// the relays that have sessions under it.
	announceRounds = 15
	// liveRounds is for how many rounds a binding is kept after it was last announced:
	// two announcements may be lost.
	liveRounds = 3 * announceRounds
	// sweepRounds is after how many rounds old bindings are removed again.
	sweepRounds = 5
)

// liveBinding says where a key has sessions, at any relay.
type liveBinding struct {
	at backend.ID
	// announced and published are the rounds in which it was last announced, and
	// last announced with a publisher.
	announced, published uint32
}

// liveBindings are the bindings that relays, this one included, have announced. Relays
// that have read the same announcements give the same answer. Time is counted in rounds
// of the exchange, so that nothing is forgotten while Redis is away. Any goroutine may
// call it.
type liveBindings struct {
	mu    sync.Mutex
	round uint32
	bytes int // of the keys
	byKey map[balancer.AffinityKey]liveBinding
}

func newLiveBindings() *liveBindings {
	// An announcement of liveRounds ago must not be of a round below 0.
	return &liveBindings{round: liveRounds + 1, byKey: make(map[balancer.AffinityKey]liveBinding)}
}

// note notes an announcement that is age rounds old. It is false if there are too many.
// An announcement without a publisher does not replace one with a publisher elsewhere.
func (l *liveBindings) note(key balancer.AffinityKey, at backend.ID, published bool, age uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age > liveRounds {
		return true // expired
	}
	round := l.round - age
	old, known := l.byKey[key]
	switch {
	case !known && !l.hasRoom(key):
		return false
	case !known:
		key.Stream = strings.Clone(key.Stream) // or it would keep the whole notice alive
		l.bytes += len(key.Stream)
	case old.at != at && !published && l.hasPublisher(old):
		return true
	case old.at != at:
		old = liveBinding{}
	}
	next := liveBinding{at: at, announced: max(old.announced, round), published: old.published}
	if published {
		next.published = max(old.published, round)
	}
	l.byKey[key] = next
	return true
}

// hasRoom reports whether one more binding can be kept. Called with mu held.
func (l *liveBindings) hasRoom(key balancer.AffinityKey) bool {
	return len(l.byKey) < maxLive && l.bytes+len(key.Stream) <= maxLiveKeyBytes
}

// hasPublisher reports whether a publisher was announced recently.
func (l *liveBindings) hasPublisher(v liveBinding) bool {
	return v.published > 0 && l.round-v.published <= announceRounds+sweepRounds
}

// due reports whether a binding of this relay must be announced: it is unknown, is known
// to be elsewhere, or was not announced for announceRounds.
func (l *liveBindings) due(key balancer.AffinityKey, at backend.ID, published bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, known := l.byKey[key]
	switch {
	case !known:
		// While there is no room for it, it must not be due in every round.
		return l.hasRoom(key) || l.round%announceRounds < sweepRounds
	case v.at != at:
		return published || !l.hasPublisher(v)
	case published && l.round-v.published >= announceRounds:
		return true
	}
	return l.round-v.announced >= announceRounds
}

func (l *liveBindings) find(key balancer.AffinityKey) (backend.ID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.byKey[key]
	return v.at, ok
}

// findPublisher is find for keys with a publisher.
func (l *liveBindings) findPublisher(key balancer.AffinityKey) (backend.ID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.byKey[key]
	return v.at, l.hasPublisher(v)
}

func (l *liveBindings) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byKey)
}

// advance begins a round. In one of sweepRounds it removes the bindings that were not
// announced for liveRounds.
func (l *liveBindings) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	if l.round%sweepRounds == 0 {
		l.removeIf(func(v liveBinding) bool { return l.round-v.announced > liveRounds })
	}
}

// forgetGone removes the bindings to backends that are certainly gone: when one comes
// back, its streams are elsewhere.
func (l *liveBindings) forgetGone(snap *backend.Snapshot) {
	var gone map[backend.ID]bool
	for i := range snap.Backends {
		if b := &snap.Backends[i]; b.Down && b.Gone {
			if gone == nil {
				gone = make(map[backend.ID]bool)
			}
			gone[b.ID] = true
		}
	}
	if gone == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeIf(func(v liveBinding) bool { return gone[v.at] })
}

func (l *liveBindings) removeIf(fn func(liveBinding) bool) {
	for key, v := range l.byKey {
		if fn(v) {
			l.bytes -= len(key.Stream)
			delete(l.byKey, key)
		}
	}
}
