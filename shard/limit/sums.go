package limit

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// mostListed is how many sources, and how many streams, a shard publishes: the heaviest. What
// a shard does not list counts at that shard only.
const mostListed = 4096

// Report is what a shard publishes of its heaviest sources and streams. It is immutable.
type Report struct {
	Sources map[Prefix]SourceUsage
	Streams map[string]StreamUsage
}

var noReport = new(Report)

// Sums has the reports of all shards, and their sums.
type Sums struct {
	reports []atomic.Pointer[Report]
	totals  atomic.Pointer[Totals]
	due     atomic.Int64 // when the next sum is due, by the shards' time
}

// NewSums returns the sums of so many shards.
func NewSums(shards int) *Sums {
	s := &Sums{reports: make([]atomic.Pointer[Report], shards)}
	for i := range s.reports {
		s.reports[i].Store(noReport)
	}
	s.Sum()
	return s
}

// Publish publishes a shard's report. It reports whether the caller is to have Sum called, off
// its loop: true for one shard per interval.
func (s *Sums) Publish(shard int, r *Report, now, interval time.Duration) (sum bool) {
	s.reports[shard].Store(r)
	due := s.due.Load()
	return int64(now) >= due && s.due.CompareAndSwap(due, int64(now+interval))
}

// Sum sums up the reports. One goroutine at a time calls it.
func (s *Sums) Sum() {
	t := &Totals{of: make([]*Report, len(s.reports))}
	for i := range s.reports {
		t.of[i] = s.reports[i].Load()
	}
	if len(t.of) == 1 {
		t.Report = *t.of[0]
	} else {
		t.Report = Report{Sources: make(map[Prefix]SourceUsage), Streams: make(map[string]StreamUsage)}
		for _, r := range t.of {
			for k, v := range r.Sources {
				u := t.Sources[k]
				u.add(&v)
				t.Sources[k] = u
			}
			for k, v := range r.Streams {
				u := t.Streams[k]
				u.add(&v)
				t.Streams[k] = u
			}
		}
	}
	s.totals.Store(t)
}

// Totals returns the last sums.
func (s *Sums) Totals() *Totals { return s.totals.Load() }

// Totals are the sums of all shards. They are immutable.
type Totals struct {
	Report
	of []*Report // what was summed up, by shard
}

// OtherSource returns what the other shards have of a source.
func (t *Totals) OtherSource(shard int, p Prefix) SourceUsage {
	if len(t.of) < 2 {
		return SourceUsage{}
	}
	u, ok := t.Sources[p]
	if !ok {
		return SourceUsage{}
	}
	own := t.of[shard].Sources[p]
	return u.without(&own)
}

// OtherPlayers returns how many players of a stream the other shards have.
func (t *Totals) OtherPlayers(shard int, key string) int32 {
	if len(t.of) < 2 {
		return 0
	}
	return t.Streams[key].Players - t.of[shard].Streams[key].Players
}

// heaviest collects the heaviest of any number of entries, in memory for a few of them.
type heaviest[K comparable, U any] struct {
	list  []weighed[K, U]
	floor uint64 // those below are not among the heaviest
}

type weighed[K comparable, U any] struct {
	key    K
	usage  U
	weight uint64
}

func (h *heaviest[K, U]) add(k K, u U, weight uint64) {
	if weight < h.floor {
		return
	}
	h.list = append(h.list, weighed[K, U]{k, u, weight})
	if len(h.list) == 2*mostListed {
		h.cut()
	}
}

// cut keeps mostListed entries.
func (h *heaviest[K, U]) cut() {
	slices.SortFunc(h.list, func(a, b weighed[K, U]) int { return cmp.Compare(b.weight, a.weight) })
	clear(h.list[mostListed:])
	h.list = h.list[:mostListed]
	h.floor = h.list[mostListed-1].weight + 1
}

// collect returns the entries, and is empty then.
func (h *heaviest[K, U]) collect() map[K]U {
	if len(h.list) > mostListed {
		h.cut()
	}
	all := make(map[K]U, len(h.list))
	for i := range h.list {
		all[h.list[i].key] = h.list[i].usage
	}
	clear(h.list)
	h.list, h.floor = h.list[:0], 0
	return all
}

// Lister makes reports.
type Lister struct {
	sources heaviest[Prefix, SourceUsage]
	streams heaviest[string, StreamUsage]
}

// Source lists a source.
func (l *Lister) Source(p Prefix, u SourceUsage) { l.sources.add(p, u, u.weight()) }

// Stream lists a stream.
func (l *Lister) Stream(key string, u StreamUsage) { l.streams.add(key, u, u.weight()) }

// Report returns the report of what was listed since the last one.
func (l *Lister) Report() *Report {
	return &Report{Sources: l.sources.collect(), Streams: l.streams.collect()}
}

// Empty reports whether there is nothing in the report.
func (r *Report) Empty() bool { return len(r.Sources) == 0 && len(r.Streams) == 0 }

// SortedSources returns the sources of a level in the order of a comparison.
func (t *Totals) SortedSources(l Level, compare func(a, b *SourceUsage) int) []Prefix {
	all := make([]Prefix, 0, len(t.Sources))
	for p := range t.Sources {
		if p.Level == l {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Prefix) int {
		u, v := t.Sources[a], t.Sources[b]
		return cmp.Or(compare(&u, &v), slices.Compare(a.IP[:], b.IP[:]))
	})
	return all
}
