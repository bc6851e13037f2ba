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

// reviveMost bounds the backends that are asked on behalf of refused callers in
// one round. Of more, half are those that answered last, and the others take
// turns.
const reviveMost = 64

// Revive asks the backends that would take streams if they were not down for a
// sign of life, now, whatever the time of their next probe. It returns true as
// soon as one has answered, which then takes streams; false when none has, or
// when ctx ends. Asking goes on in the background for at most the time of a
// probe. One call at a time is meant: each asks every one of them once.
func (p *Prober) Revive(ctx context.Context) bool {
	all := p.downed(time.Now())
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
	for range all {
		select {
		case <-ctx.Done():
			return false
		case ok := <-answered:
			if ok {
				return true
			}
		}
	}
	return false
}

// revive asks one backend, and has its probes go on from there.
func (p *Prober) revive(b backend.Backend) bool {
	limited, cancel := context.WithTimeout(context.Background(), 2*answerWithin)
	defer cancel()
	keyLen, err := p.askInTurn(limited, b.Addr)
	if err != nil {
		return false
	}
	if now, known := p.registry.Snapshot().Find(b.ID); !known || now.Addr != b.Addr {
		return false // gone, or elsewhere: that is not who answered
	}
	if p.registry.Alive(b.ID, keyLen, time.Now()) {
		p.log.Info("backend alive", "backend", string(b.ID), "address", b.Addr, "key_length", int(keyLen)*8)
	}
	p.registry.ProbeSoon(b.ID)
	return true
}

// downed returns the backends to ask for callers that were refused.
func (p *Prober) downed(now time.Time) []backend.Backend {
	all := slices.DeleteFunc(slices.Clone(p.registry.Snapshot().Backends), func(b backend.Backend) bool {
		return !b.Down || b.Draining || b.Late(now) || !b.Addr.IsValid()
	})
	if len(all) <= reviveMost {
		return all
	}
	slices.SortStableFunc(all, func(a, b backend.Backend) int { return b.Answered.Compare(a.Answered) })
	const recent = reviveMost / 2
	rest := all[recent:]
	p.mu.Lock()
	from := p.turn % len(rest)
	p.turn = from + reviveMost - recent
	p.mu.Unlock()
	picked := slices.Concat(all[:recent], rest[from:], rest[:from])[:reviveMost]
	slices.SortFunc(picked, func(a, b backend.Backend) int { return cmp.Compare(a.ID, b.ID) })
	return picked
}

// revivals is what Revive keeps between its calls.
type revivals struct {
	mu       sync.Mutex
	turn     int              // where those that take turns go on
	ended    bool             // Run has ended
	reviving *supervise.Tasks // those that are being asked, nil before the first
}

// resume lets them begin, also after a panic of Run.
func (v *revivals) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = false
}

// begin asks one backend in the background; false when Run has ended.
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

// end waits for those that are being asked, and lets no others begin.
func (v *revivals) end() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	if v.reviving != nil {
		v.reviving.Wait()
	}
}
