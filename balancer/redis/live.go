package redis

import (
	"strings"
	"sync"

	"srtrelay/backend"
	"srtrelay/balancer"
)

const (
	// maxLive is how many bindings of live streams and groups are known at most.
	maxLive = 100_000
	// maxLiveText is how long their keys may be together, in bytes.
	maxLiveText = 16 << 20
	// announceEvery is after how many rounds a binding is announced again, by
	// any one relay that has sessions under it.
	announceEvery = 15
	// liveFor is for how many rounds a binding is known after it was last
	// announced: three announcements.
	liveFor = 3 * announceEvery
	// sweepEvery is how many rounds lie between two walks over all bindings.
	sweepEvery = 5
)

// liveBinding says where a key has sessions, at any relay.
type liveBinding struct {
	at backend.ID
	// seen and published are the rounds in which it was last announced, and
	// announced with a publisher.
	seen, published uint32
}

// liveBindings are the bindings that relays have announced, this one among
// them: all that have read the same announcements give the same answer. Time
// is counted in rounds of the exchange, so that nothing is forgotten while
// Redis is away. Any goroutine may call it.
type liveBindings struct {
	mu    sync.Mutex
	round uint32
	text  int // bytes of the keys
	of    map[balancer.AffinityKey]liveBinding
}

func newLiveBindings() *liveBindings {
	// No round is older than 0.
	return &liveBindings{round: liveFor + 1, of: make(map[balancer.AffinityKey]liveBinding)}
}

// note takes an announcement that is some rounds old. It reports false if there
// is no place for it. One without a publisher does not replace one with.
func (l *liveBindings) note(h balancer.AffinityKey, at backend.ID, published bool, age uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age > liveFor {
		return true // it is over
	}
	seen := l.round - age
	old, known := l.of[h]
	switch {
	case !known && (len(l.of) >= maxLive || l.text+len(h.Stream) > maxLiveText):
		return false
	case !known:
		h.Stream = strings.Clone(h.Stream) // it is a part of a long text
		l.text += len(h.Stream)
	case old.at != at && !published && l.hasPublisher(old):
		return true
	case old.at != at:
		old = liveBinding{}
	}
	next := liveBinding{at: at, seen: max(old.seen, seen), published: old.published}
	if published {
		next.published = max(old.published, seen)
	}
	l.of[h] = next
	return true
}

// hasPublisher reports whether a publisher was announced and not missed since.
func (l *liveBindings) hasPublisher(v liveBinding) bool {
	return v.published > 0 && l.round-v.published <= announceEvery+sweepEvery
}

// due reports whether a binding of this relay is to be announced: it is not
// known, is known otherwise, or was not announced for a while.
func (l *liveBindings) due(h balancer.AffinityKey, at backend.ID, published bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, known := l.of[h]
	switch {
	case !known:
		// Where there is no place, it would be due in each round.
		return len(l.of) < maxLive || l.round%announceEvery < sweepEvery
	case v.at != at:
		return published || !l.hasPublisher(v)
	case published && l.round-v.published >= announceEvery:
		return true
	}
	return l.round-v.seen >= announceEvery
}

func (l *liveBindings) find(h balancer.AffinityKey) (backend.ID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.of[h]
	return v.at, ok
}

func (l *liveBindings) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of)
}

// advance begins a round, and in every fifth forgets what was not announced
// for long.
func (l *liveBindings) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	if l.round%sweepEvery == 0 {
		l.drop(func(v liveBinding) bool { return l.round-v.seen > liveFor })
	}
}

// forgetGone forgets the bindings to backends at which nobody listens any more:
// when one comes back, its streams are elsewhere.
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
	l.drop(func(v liveBinding) bool { return gone[v.at] })
}

func (l *liveBindings) drop(over func(liveBinding) bool) {
	for h, v := range l.of {
		if over(v) {
			l.text -= len(h.Stream)
			delete(l.of, h)
		}
	}
}
