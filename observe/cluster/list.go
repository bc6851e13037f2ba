package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"srtrelay/api/answer"
)

// Relays lists all relays. It reads the reports again unless that was done within a second.
func (v *View) Relays(ctx context.Context) answer.RelayList {
	v.refresh(ctx)
	all := v.sorted()
	self := v.store.RelayID()
	v.mu.Lock()
	list := answer.RelayList{SharedState: v.sharedState(), Relays: []answer.Relay{}, LeftOut: v.left}
	v.mu.Unlock()
	for _, m := range all {
		r := m.answer(self)
		list.Relays = append(list.Relays, r)
		if m.away {
			list.Away++
			continue
		}
		list.Alive++
		list.Sum.Sessions += r.Sessions
		list.Sum.Publishers += r.Publishers
		list.Sum.Players += r.Players
		list.Sum.BitrateIn += r.BitrateIn
		list.Sum.BitrateOut += r.BitrateOut
	}
	list.Sum.Streams = distinct(all)
	return list
}

// distinct returns how many streams the relays that are alive have together. A stream at
// two of them is one; of streams that a relay does not list that is not known.
func distinct(all []*member) int {
	keys, more := make(map[string]struct{}), 0
	for _, m := range all {
		if m.away {
			continue
		}
		for i := range m.streams {
			keys[m.streams[i].Key] = struct{}{}
		}
		more += max(m.info.Streams-len(m.streams), 0)
	}
	return len(keys) + more
}

// sharedState says of what time the view is. Called with mu held.
func (v *View) sharedState() answer.SharedState {
	inUse, since, problem := v.store.State()
	s := answer.SharedState{InUse: inUse, Since: since.UTC(), Problem: problem}
	if !v.readAt.IsZero() {
		s.ReadAt = v.readAt.UTC()
	}
	return s
}

// sorted returns all relays by name.
func (v *View) sorted() []*member {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]*member, 0, len(v.relays))
	for _, m := range v.relays {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.name(), b.name()), cmp.Compare(a.id, b.id))
	})
	return all
}

func (m *member) name() string { return cmp.Or(m.info.Name, m.id) }

func (m *member) state() string {
	if m.away {
		return answer.RelayAway
	}
	return answer.RelayAlive
}

func (m *member) answer(self string) answer.Relay {
	i := &m.info
	return answer.Relay{
		ID: m.id, Name: m.name(), Self: m.id == self, State: m.state(), Version: i.Version, API: i.API, Forward: i.Forward,
		SeenAt: m.seen.UTC(), SeenSeconds: max(time.Since(m.seen), 0).Seconds(), UptimeSeconds: i.UptimeSeconds, Shards: i.Shards, RelaySums: answer.RelaySums(i.Sums),
		Draining: i.Draining, Overload: i.Overload, Listed: len(m.streams), Problem: m.problem,
	}
}

// Streams lists the streams of all relays. It reads the reports again unless that was done
// within a second.
func (v *View) Streams(ctx context.Context, q answer.ClusterStreamQuery) answer.ClusterStreamList {
	v.refresh(ctx)
	all := v.sorted()
	v.mu.Lock()
	list := answer.ClusterStreamList{SharedState: v.sharedState(), Streams: []answer.ClusterStream{}}
	v.mu.Unlock()
	byKey := make(map[string]*answer.ClusterStream)
	for _, m := range all {
		if !m.away {
			list.LeftOut += max(m.info.Streams-len(m.streams), 0)
		}
		if q.Relay != "" && q.Relay != m.id && q.Relay != m.info.Name {
			continue
		}
		for i := range m.streams {
			if s := &m.streams[i]; fits(&q, s) {
				addPlace(byKey, m, s)
			}
		}
	}
	fit := make([]*answer.ClusterStream, 0, len(byKey))
	for _, s := range byKey {
		fit = append(fit, s)
	}
	slices.SortFunc(fit, order(q.Sort))
	list.Total = len(fit)
	from := min(max(q.Offset, 0), len(fit))
	for _, s := range fit[from:min(from+max(q.Limit, 0), len(fit))] {
		slices.SortStableFunc(s.Places, func(a, b answer.StreamPlace) int {
			return cmp.Or(boolCompare(a.State == answer.RelayAlive, b.State == answer.RelayAlive), boolCompare(a.Publishers > 0, b.Publishers > 0))
		})
		list.Streams = append(list.Streams, *s)
	}
	return list
}

// fits reports whether a query selects a stream of a relay.
func fits(q *answer.ClusterStreamQuery, s *Stream) bool {
	return (q.Key == nil || *q.Key == s.Key) && (q.Backend == "" || q.Backend == s.Backend) && strings.Contains(s.Key, q.Match)
}

// addPlace adds a stream of a relay to the streams of all. A relay has a stream once: what it
// lists twice is left out.
func addPlace(byKey map[string]*answer.ClusterStream, m *member, s *Stream) {
	sum := byKey[s.Key]
	if sum == nil {
		sum = &answer.ClusterStream{Key: s.Key}
		byKey[s.Key] = sum
	}
	if n := len(sum.Places); n > 0 && sum.Places[n-1].Relay == m.id {
		return
	}
	p := answer.StreamPlace{
		Relay: m.id, Name: m.name(), State: m.state(), Backend: answer.BackendRef{ID: s.Backend, Address: s.Address},
		Sessions: int(s.Sessions), Publishers: int(s.Publishers), Players: int(s.Players),
		BitrateIn: float64(s.In), BitrateOut: float64(s.Out), AgeSeconds: s.Age.Seconds(),
	}
	sum.Places = append(sum.Places, p)
	if m.away {
		return // it is not there any more, as far as is known
	}
	sum.Sessions += p.Sessions
	sum.Publishers += p.Publishers
	sum.Players += p.Players
	sum.BitrateIn += p.BitrateIn
	sum.BitrateOut += p.BitrateOut
}

// order returns the comparison for a sort order. Equal streams are ordered by key.
func order(by string) func(a, b *answer.ClusterStream) int {
	return func(a, b *answer.ClusterStream) int {
		first := 0
		switch by {
		case answer.SortKey:
		case answer.SortSessions:
			first = cmp.Compare(b.Sessions, a.Sessions)
		default:
			first = cmp.Compare(b.BitrateIn+b.BitrateOut, a.BitrateIn+a.BitrateOut)
		}
		return cmp.Or(first, strings.Compare(a.Key, b.Key))
	}
}
