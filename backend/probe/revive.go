package probe

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/supervise"
)

// maxRevive bounds the backends that one Revive probes. If more are down, half of
// them are those that answered last, and the others take turns.
const maxRevive = 64

// othersAnswer is how long Revive waits for the others once a backend has answered: far
// above what round trips inside a cluster differ by. The network may have been away, and not
// the backends: then streams are to find their own backend, and new ones all of them.
const othersAnswer = 20 * time.Millisecond

// Revive probes at once the backends that would get streams if they were not down.
// It returns true when one has answered, which then gets streams, and either all others
// have answered too or othersAnswer has passed. It returns false when none has answered,
// or when ctx ends. Probes go on in the background for at most the time of one. The
// caller makes one call at a time: each probes every backend once.
func (p *Prober) Revive(ctx context.Context) bool {
	all := p.candidates(time.Now())
	answered := make(chan bool, len(all))
	for _, b := range all {
		if !p.begin(func() {
			ok := false
			defer func() { answered <- ok }()
			ok = p.revive(b)
		}) {
			return false
		}
	}
	var late <-chan time.Time // set when one has answered
	for range all {
		select {
		case <-ctx.Done():
			return late != nil
		case <-late:
			return true
		case ok := <-answered:
			if ok && late == nil {
				late = time.After(othersAnswer)
			}
		}
	}
	return late != nil
}

// revive probes one backend, and restarts its schedule if it answers.
func (p *Prober) revive(b backend.Backend) bool {
	limited, cancel := context.WithTimeout(context.Background(), 2*answerTimeout)
	defer cancel()
	keyLen, err := p.askLimited(limited, b.Addr)
	if err != nil {
		return false
	}
	if now, known := p.registry.Snapshot().Find(b.ID); !known || now.Addr != b.Addr {
		return false // removed or moved: another process answered
	}
	if p.registry.MarkAlive(b.ID, keyLen, time.Now()) {
		p.log.Info("backend alive", "backend", string(b.ID), "address", b.Addr, "key_length", int(keyLen)*8)
	}
	p.registry.ProbeSoon(b.ID)
	return true
}

// candidates returns the backends that Revive probes.
func (p *Prober) candidates(now time.Time) []backend.Backend {
	all := slices.DeleteFunc(slices.Clone(p.registry.Snapshot().Backends), func(b backend.Backend) bool {
		return !b.Down || b.Draining || b.Removed || b.Late(now) || !b.Addr.IsValid()
	})
	if len(all) <= maxRevive {
		return all
	}
	slices.SortStableFunc(all, func(a, b backend.Backend) int { return b.Answered.Compare(a.Answered) })
	const recent = maxRevive / 2
	rest := all[recent:]
	p.mu.Lock()
	from := p.turn % len(rest)
	p.turn = from + maxRevive - recent
	p.mu.Unlock()
	picked := slices.Concat(all[:recent], rest[from:], rest[:from])[:maxRevive]
	slices.SortFunc(picked, func(a, b backend.Backend) int { return cmp.Compare(a.ID, b.ID) })
	return picked
}

// revivals is the state of Revive between its calls.
type revivals struct {
	mu       sync.Mutex
	turn     int              // where the next round continues
	ended    bool             // Run has ended
	reviving *supervise.Tasks // probes under way, nil before the first
}

// resume allows revivals, also after a panic of Run.
func (v *revivals) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = false
}

// begin runs a probe in the background. It is false when Run has ended.
func (p *Prober) begin(ask func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	if p.reviving == nil {
		p.reviving = p.Supervisor.Tasks()
	}
	p.reviving.Go("prober revival", ask)
	return true
}

// end waits for the probes under way, and allows no others.
func (v *revivals) end() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	if v.reviving != nil {
		v.reviving.Wait()
	}
}
