package streams

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"srtrelay/api/answer"
	"srtrelay/shard"
)

// Streams lists streams in the order of the query.
func (w *Watch) Streams(ctx context.Context, q answer.StreamQuery) (answer.StreamList, error) {
	all, err := w.totals(ctx)
	if err != nil {
		return answer.StreamList{}, err
	}
	var fit []*answer.Stream
	for i := range all.list {
		s := &all.list[i]
		if (q.Backend == "" || s.Backend.ID == q.Backend) && strings.Contains(s.Key, q.Match) {
			fit = append(fit, s)
		}
	}
	slices.SortFunc(fit, order(q.Sort))
	list := answer.StreamList{Streams: []answer.Stream{}, Total: len(fit), TakenAt: all.taken}
	from := min(max(q.Offset, 0), len(fit))
	for _, s := range fit[from:min(from+max(q.Limit, 0), len(fit))] {
		one := *s // a copy: the cached one is shared
		one.History = w.historyOf(one.Key, q.History)
		list.Streams = append(list.Streams, one)
	}
	return list, nil
}

// order returns the comparison for a sort order. Equal streams are ordered by key.
func order(by string) func(a, b *answer.Stream) int {
	var greater func(a, b *answer.Stream) int
	switch by {
	case answer.SortKey:
		greater = func(_, _ *answer.Stream) int { return 0 }
	case answer.SortRTT:
		greater = byValue(func(s *answer.Stream) float64 { return worse(s.CallerRTT, s.BackendRTT) })
	case answer.SortLoss:
		greater = byValue(func(s *answer.Stream) float64 { return worse(s.CallerLoss, s.BackendLoss) })
	case answer.SortSessions:
		greater = byValue(func(s *answer.Stream) float64 { return float64(s.Sessions) })
	case answer.SortSince:
		greater = func(a, b *answer.Stream) int { return a.Since.Compare(b.Since) }
	default:
		greater = byValue(func(s *answer.Stream) float64 { return s.BitrateIn + s.BitrateOut })
	}
	return func(a, b *answer.Stream) int {
		return cmp.Or(greater(a, b), strings.Compare(a.Key, b.Key))
	}
}

func byValue(of func(*answer.Stream) float64) func(a, b *answer.Stream) int {
	return func(a, b *answer.Stream) int { return cmp.Compare(of(b), of(a)) }
}

// worse returns the greater value, -1 if both are unknown.
func worse(a, b *float64) float64 {
	worst := -1.0
	for _, x := range []*float64{a, b} {
		if x != nil {
			worst = max(worst, *x)
		}
	}
	return worst
}

// Stream returns a stream with its history and all its sessions, also those that are not
// established or have just ended; false if there are neither.
func (w *Watch) Stream(ctx context.Context, key string) (answer.StreamDetail, bool, error) {
	d := answer.StreamDetail{SessionList: []answer.Session{}, TakenAt: w.wallTime()}
	var sum total
	err := walk(ctx, w.group, make([]shard.View, sliceSize), shard.Filter{Key: &key}, func(views []shard.View) {
		for i := range views {
			v := &views[i]
			if v.State == established {
				r := w.ratesOf(v.ID)
				sum.add(v, &r)
			}
			if len(d.SessionList) < answer.MaxLimit {
				d.SessionList = append(d.SessionList, w.session(v))
			}
		}
	})
	if err != nil {
		return answer.StreamDetail{}, false, err
	}
	if sum.found {
		sum.finish()
	}
	d.Stream = sum.Stream
	d.Key = key
	d.History = w.historyOf(key, historyLength)
	return d, len(d.SessionList) > 0 || d.History != nil, nil
}
