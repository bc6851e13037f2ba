package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// freshFor is how long what was read is shown without reading again.
	freshFor = time.Second
	// readWait bounds the reading for one answer.
	readWait = 3 * time.Second
	// readRounds is how many reports a relay writes between two readings that nobody has
	// asked for.
	readRounds = 5
	// logInterval is the least time between two lines about reports that cannot be read.
	logInterval = time.Minute
)

// View shows all relays. Any goroutine may call it, but for Run.
type View struct {
	store Store
	log   *slog.Logger

	// Used by Run only.
	revision uint64 // of the last summary
	listed   int

	turn chan struct{} // holds a token: the right to read

	mu     sync.Mutex
	relays map[string]*member // by ID; the members are immutable
	left   int                // reports that were left out when last read
	readAt time.Time          // zero before the first time
	logged time.Time
	counts Counts
}

// Counts are what a relay has written, and how much of what others wrote is no use.
type Counts struct {
	Alive, Away int // relays
	// WriteErrors counts reports that could not be written, Written the bytes of
	// summaries that were.
	WriteErrors, Written uint64
	// Unreadable counts readings of reports and summaries that are no use.
	Unreadable uint64
}

// member is a relay as last read.
type member struct {
	id   string
	info Info
	// seen is when the report was written, by this relay's clock.
	seen time.Time
	// away means that its reports had ended when they were last read.
	away    bool
	problem string
	streams []Stream
	// read is the revision of streams, 0 if there are none.
	read uint64
}

// New returns a View over a store.
func New(store Store, log *slog.Logger) *View {
	v := &View{store: store, log: log, turn: make(chan struct{}, 1), relays: make(map[string]*member)}
	v.turn <- struct{}{}
	return v
}

// Counts returns the present counts.
func (v *View) Counts() Counts {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.counts
	for _, m := range v.relays {
		if m.away {
			c.Away++
		} else {
			c.Alive++
		}
	}
	return c
}

// refresh reads all reports, unless that was done within freshFor. An error means that
// what was read before is still shown.
func (v *View) refresh(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	select {
	case <-v.turn:
	case <-limited.Done():
		return
	}
	defer func() { v.turn <- struct{}{} }()
	v.mu.Lock()
	fresh := time.Since(v.readAt) < freshFor
	v.mu.Unlock()
	if fresh {
		return
	}
	stored, left, err := v.store.ReadReports(limited)
	if err != nil {
		return
	}
	now := time.Now()
	next, unreadable := membersOf(stored, v.store.RelayID(), now)
	left += max(len(next)-MaxRelays, 0)
	next = next[:min(len(next), MaxRelays)]
	unreadable += v.readStreams(limited, next)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.relays = make(map[string]*member, len(next))
	for _, m := range next {
		v.relays[m.id] = m
	}
	v.left, v.readAt = left+unreadable, now
	v.counts.Unreadable += uint64(unreadable)
	if unreadable+left > 0 && now.Sub(v.logged) >= logInterval {
		v.logged = now
		v.log.Warn("reports of relays that cannot be used", "unreadable", unreadable, "left_out", left)
	}
}

// membersOf returns the relays of reports, those that count most first: this relay, then
// those seen last.
func membersOf(stored []Stored, self string, now time.Time) (all []*member, unreadable int) {
	placed := make(map[string]time.Duration) // the age of the last report from a place
	for _, s := range stored {
		m := &member{id: s.ID, seen: now.Add(-s.Age), away: s.Age > AwayAfter}
		if err := json.Unmarshal(s.Info, &m.info); err != nil || len(s.Info) > MaxInfo || !m.info.plausible() {
			m.info, m.problem = Info{}, "its report cannot be read"
			unreadable++
		}
		if age, has := placed[m.info.Place]; !has || s.Age < age {
			placed[m.info.Place] = s.Age
		}
		all = append(all, m)
	}
	// A relay that was killed and started again is one relay.
	all = slices.DeleteFunc(all, func(m *member) bool {
		return m.away && m.info.Place != "" && placed[m.info.Place] <= AwayAfter
	})
	slices.SortFunc(all, func(a, b *member) int {
		return cmp.Or(boolCompare(a.id == self, b.id == self), boolCompare(!a.away, !b.away), cmp.Compare(a.info.Name, b.info.Name), cmp.Compare(a.id, b.id))
	})
	return all, unreadable
}

// boolCompare orders true before false.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// plausible reports whether the numbers of a report can be added up.
func (i *Info) plausible() bool {
	for _, n := range []int{i.Sessions, i.Streams, i.Publishers, i.Players, i.Shards, i.Listed} {
		if n < 0 || n > math.MaxInt32 {
			return false
		}
	}
	for _, rate := range []float64{i.BitrateIn, i.BitrateOut, i.UptimeSeconds} {
		if !(rate >= 0 && rate < maxRate) {
			return false
		}
	}
	return true
}

// maxRate is the highest bitrate that is believed: no host has it.
const maxRate = 1e15

// readStreams gives relays their streams: those of before, or those of a newer summary. It
// returns how many summaries cannot be read.
func (v *View) readStreams(ctx context.Context, all []*member) (unreadable int) {
	v.mu.Lock()
	var ids []string
	var due []*member
	for _, m := range all {
		if old := v.relays[m.id]; old != nil {
			m.streams, m.read = old.streams, old.read
		}
		if m.problem == "" && m.info.Revision > 0 && m.info.Revision != m.read {
			ids, due = append(ids, m.id), append(due, m)
		}
	}
	v.mu.Unlock()
	texts, err := v.store.ReadSummaries(ctx, ids)
	if err != nil {
		for _, m := range due {
			m.problem = "its streams could not be read"
		}
		return 0
	}
	for i, m := range due {
		if i >= len(texts) || len(texts[i]) == 0 {
			m.streams, m.read = nil, 0 // expired
			continue
		}
		revision, list, err := readSummary(texts[i])
		if err != nil {
			m.streams, m.read, m.problem = nil, 0, problemOf(err)
			unreadable++
			continue
		}
		m.streams, m.read = list, revision
	}
	bound(all)
	return unreadable
}

// bound cuts lists of streams so that all together do not take too much memory.
func bound(all []*member) {
	places, bytes := 0, 0
	for _, m := range all {
		for i := range m.streams {
			places++
			bytes += len(m.streams[i].Key)
			if places > maxPlaces || bytes > maxKeyBytes {
				m.streams = append([]Stream(nil), m.streams[:i]...) // or the rest stays in memory
				break
			}
		}
	}
}

func problemOf(err error) string {
	if errors.Is(err, errSummary) {
		return "its streams cannot be read"
	}
	return fmt.Sprintf("its streams: %v", err)
}
