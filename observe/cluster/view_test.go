package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// store is a Store in memory.
type store struct {
	id        string
	reports   []Stored
	summaries map[string][]byte
	left      int
	away      error
	read      int // how often the reports were read
}

func (s *store) RelayID() string { return s.id }
func (s *store) State() (bool, time.Time, string) {
	return s.away == nil, time.Unix(1_700_000_000, 0), "redis: " + fmt.Sprint(s.away)
}

func (s *store) WriteReport(_ context.Context, info, summary []byte) error {
	if s.away != nil {
		return s.away
	}
	s.put(s.id, 0, info, summary)
	return nil
}

func (s *store) put(id string, age time.Duration, info, summary []byte) {
	s.reports = slices.DeleteFunc(s.reports, func(r Stored) bool { return r.ID == id })
	s.reports = append(s.reports, Stored{ID: id, Info: info, Age: age})
	if summary != nil {
		s.summaries[id] = summary
	}
}
func (s *store) RemoveReport(context.Context) error { return nil }
func (s *store) ReadReports(context.Context) ([]Stored, int, error) {
	s.read++
	return s.reports, s.left, s.away
}

func (s *store) ReadSummaries(_ context.Context, ids []string) (all [][]byte, err error) {
	for _, id := range ids {
		all = append(all, s.summaries[id])
	}
	return all, s.away
}

func newStore(id string) *store { return &store{id: id, summaries: map[string][]byte{}} }

// report puts a relay's report into the store.
func (s *store) report(id, name string, age time.Duration, list ...Stream) {
	r := Report{Info: Info{Name: name, Version: "v1", UptimeSeconds: 60, Shards: 2}}
	for _, one := range list {
		r.Add(one)
	}
	s.reportAs(id, age, r)
}

func (s *store) reportAs(id string, age time.Duration, r Report) {
	text, listed := summarize(uint64(len(s.summaries)+1), r.List)
	r.Revision, r.Listed = uint64(len(s.summaries)+1), listed
	s.put(id, age, encodeInfo(r.Info), text)
}

func viewOf(s Store) *View { return New(s, slog.New(slog.DiscardHandler)) }

// stale has a view read again.
func (v *View) stale() *View {
	v.readAt = v.readAt.Add(-time.Minute)
	return v
}

func at(key, backend string, publishers, players int) Stream {
	return Stream{
		Key: key, Backend: backend, Address: "10.0.0.1:10080", Sessions: uint32(publishers + players), Publishers: uint32(publishers), Players: uint32(players),
		In: uint64(publishers) * 1000, Out: uint64(players) * 1000, Age: time.Minute,
	}
}

func TestRelays(t *testing.T) {
	s := newStore("b")
	s.report("a", "edge-1", time.Second, at("live/x", "origin", 1, 2), at("live/y", "origin", 1, 0))
	s.report("b", "edge-2", 0, at("live/x", "origin", 0, 3))
	s.report("c", "edge-3", time.Minute, at("live/z", "other", 1, 0))
	list := viewOf(s).Relays(t.Context())
	if list.Alive != 2 || list.Away != 1 || len(list.Relays) != 3 || !list.SharedState.InUse || list.SharedState.ReadAt.IsZero() {
		t.Fatalf("%+v", list)
	}
	if want := (answer.RelaySums{Sessions: 7, Streams: 2, Publishers: 2, Players: 5, BitrateIn: 2000, BitrateOut: 5000}); list.Sum != want {
		t.Errorf("the sum is %+v", list.Sum)
	}
	for i, want := range []struct {
		name, state string
		self        bool
	}{{"edge-1", "alive", false}, {"edge-2", "alive", true}, {"edge-3", "away", false}} {
		if r := list.Relays[i]; r.Name != want.name || r.State != want.state || r.Self != want.self {
			t.Errorf("%+v is not %+v", r, want)
		}
	}
	if seen := time.Since(list.Relays[2].SeenAt); seen < time.Minute || seen > 2*time.Minute {
		t.Errorf("seen %v ago", seen)
	}
}

func TestStreams(t *testing.T) {
	s := newStore("b")
	s.report("a", "edge-1", time.Second, at("live/x", "origin", 0, 2), at("live/y", "other", 1, 0))
	s.report("b", "edge-2", 0, at("live/x", "origin", 1, 1))
	s.report("c", "edge-3", time.Minute, at("live/x", "origin", 0, 9), at("live/z", "other", 1, 0))
	v := viewOf(s)
	x := "live/x"
	for name, c := range map[string]struct {
		q    answer.ClusterStreamQuery
		want string
	}{
		"all":       {answer.ClusterStreamQuery{Limit: 10}, "live/x edge-2 edge-1 edge-3(away); live/y edge-1; live/z edge-3(away)"},
		"by key":    {answer.ClusterStreamQuery{Limit: 2, Offset: 1, Sort: answer.SortKey}, "live/y edge-1; live/z edge-3(away)"},
		"one":       {answer.ClusterStreamQuery{Limit: 10, Key: &x}, "live/x edge-2 edge-1 edge-3(away)"},
		"match":     {answer.ClusterStreamQuery{Limit: 10, Match: "/z"}, "live/z edge-3(away)"},
		"a relay":   {answer.ClusterStreamQuery{Limit: 10, Relay: "edge-1"}, "live/x edge-1; live/y edge-1"},
		"by its ID": {answer.ClusterStreamQuery{Limit: 10, Relay: "b"}, "live/x edge-2"},
		"a backend": {answer.ClusterStreamQuery{Limit: 10, Backend: "other"}, "live/y edge-1; live/z edge-3(away)"},
		"none":      {answer.ClusterStreamQuery{Limit: 10, Relay: "nobody"}, ""},
		"beyond":    {answer.ClusterStreamQuery{Limit: 10, Offset: 99}, ""},
	} {
		var got []string
		for _, one := range v.Streams(t.Context(), c.q).Streams {
			text := one.Key
			for _, p := range one.Places {
				text += " " + p.Name
				if p.State == answer.RelayAway {
					text += "(away)"
				}
			}
			got = append(got, text)
		}
		if joined := strings.Join(got, "; "); joined != c.want {
			t.Errorf("%s: %s, not %s", name, joined, c.want)
		}
	}
	one := v.Streams(t.Context(), answer.ClusterStreamQuery{Limit: 1, Key: &x}).Streams[0]
	if one.Sessions != 4 || one.Publishers != 1 || one.Players != 3 || one.BitrateOut != 3000 {
		t.Errorf("the sums count the relay that is away: %+v", one)
	}
	if s.read != 1 {
		t.Errorf("the reports were read %d times within a second", s.read)
	}
}

// While the store is away, what was last read is shown, and says so.
// A relay that lists a stream many times has it once.
func TestStreamListedTwice(t *testing.T) {
	s := newStore("a")
	s.report("a", "edge-1", 0, at("live/x", "origin", 1, 0))
	s.report("b", "edge-2", 0, slices.Repeat([]Stream{at("live/x", "origin", 1, 1)}, 1000)...)
	list := viewOf(s).Streams(t.Context(), answer.ClusterStreamQuery{Limit: 10})
	if len(list.Streams) != 1 || len(list.Streams[0].Places) != 2 || list.Streams[0].Sessions != 3 {
		t.Errorf("%d streams, %+v", len(list.Streams), list.Streams[0])
	}
}

func TestStoreAway(t *testing.T) {
	s := newStore("a")
	v := viewOf(s)
	s.away = ErrAway
	if list := v.Relays(t.Context()); list.SharedState.InUse || !list.SharedState.ReadAt.IsZero() || len(list.Relays) != 0 {
		t.Errorf("before the first time: %+v", list)
	}
	s.away = nil
	s.report("a", "edge-1", 0, at("live/x", "origin", 1, 0))
	v.Relays(t.Context())
	s.away = fmt.Errorf("%w: connection refused", ErrAway)
	list := v.stale().Relays(t.Context())
	if list.SharedState.InUse || list.SharedState.Problem == "" || list.SharedState.Since.IsZero() || list.SharedState.ReadAt.IsZero() || list.Alive != 1 {
		t.Errorf("%+v", list)
	}
	if streams := v.Streams(t.Context(), answer.ClusterStreamQuery{Limit: 1}); streams.Total != 1 || streams.SharedState.InUse {
		t.Errorf("%+v", streams)
	}
}

// What one relay writes harms nothing of the others.
func TestBadReports(t *testing.T) {
	good, _ := summarize(1, []Stream{at("live/x", "origin", 1, 0)})
	info := func(change func(*Info)) []byte {
		i := Info{Name: "bad", Revision: 1}
		change(&i)
		text, _ := json.Marshal(i)
		return text
	}
	for name, c := range map[string]struct {
		info, summary []byte
		problem       string
		unreadable    uint64
	}{
		"no JSON":          {[]byte("\x00"), good, "its report cannot be read", 1},
		"a wrong type":     {[]byte(`{"sessions":"many"}`), good, "its report cannot be read", 1},
		"a negative sum":   {info(func(i *Info) { i.Sessions = -1 }), good, "its report cannot be read", 1},
		"a huge sum":       {info(func(i *Info) { i.Players = 1 << 40 }), good, "its report cannot be read", 1},
		"a huge rate":      {info(func(i *Info) { i.BitrateIn = 1e300 }), good, "its report cannot be read", 1},
		"a bad summary":    {info(func(*Info) {}), []byte("\x01garbage"), "its streams cannot be read", 1},
		"a long summary":   {info(func(*Info) {}), make([]byte, MaxSummary+1), "its streams cannot be read", 1},
		"no summary":       {info(func(*Info) {}), nil, "", 0},
		"a false revision": {info(func(i *Info) { i.Revision = 99 }), good, "", 0},
	} {
		s := newStore("a")
		s.report("a", "edge-1", 0, at("live/x", "origin", 1, 0))
		s.put("bad", 0, c.info, c.summary)
		v := viewOf(s)
		list := v.Relays(t.Context())
		if len(list.Relays) != 2 || list.Sum.Sessions != 1 {
			t.Errorf("%s: %+v", name, list)
			continue
		}
		for _, r := range list.Relays {
			if want := map[bool]string{true: "", false: c.problem}[r.Self]; r.Problem != want {
				t.Errorf("%s: problem of %s: %q", name, r.ID, r.Problem)
			}
		}
		if n := v.Counts(); n.Unreadable != c.unreadable || n.Alive != 2 {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// A relay that was killed and started again is one relay, and two at different places are
// two, whatever their names.
func TestRelayInAnothersPlace(t *testing.T) {
	s := newStore("new")
	for id, c := range map[string]struct {
		place string
		age   time.Duration
	}{"old": {"here", time.Minute}, "new": {"here", 0}, "elsewhere": {"there", time.Minute}, "unplaced": {"", time.Minute}} {
		s.reportAs(id, c.age, Report{Info: Info{Name: "edge", Place: c.place}})
	}
	var ids []string
	for _, r := range viewOf(s).Relays(t.Context()).Relays {
		ids = append(ids, r.ID)
	}
	if want := []string{"elsewhere", "new", "unplaced"}; !slices.Equal(ids, want) {
		t.Errorf("listed are %v, not %v", ids, want)
	}
}

func TestTooManyRelays(t *testing.T) {
	s := newStore("self")
	for i := range MaxRelays + 20 {
		s.report(fmt.Sprint("away-", i), "a", time.Minute)
	}
	s.report("self", "z", 0)
	list := viewOf(s).Relays(t.Context())
	if len(list.Relays) != MaxRelays || list.LeftOut != 21 || list.Alive != 1 {
		t.Errorf("%d relays, %d alive, %d left out", len(list.Relays), list.Alive, list.LeftOut)
	}
}

func TestRunReports(t *testing.T) {
	s := newStore("a")
	v := viewOf(s)
	ctx, end := context.WithCancel(t.Context())
	calls := 0
	v.Run(ctx, func(context.Context) (Report, error) {
		calls++
		end()
		r := Report{Info: Info{Name: strings.Repeat("n", 10_000), Version: "\x01\x02"}}
		r.Add(at("live/x", "origin", 1, 0))
		return r, nil
	})
	if calls != 1 || len(s.reports) != 1 || len(s.reports[0].Info) > MaxInfo {
		t.Fatalf("%d reports: %+v", calls, s.reports)
	}
	if n := v.Counts(); n.Written == 0 || n.WriteErrors != 0 {
		t.Errorf("%+v", n)
	}
	if list := v.stale().Relays(t.Context()); list.Alive != 1 || list.Relays[0].Listed != 1 || list.Relays[0].Problem != "" {
		t.Errorf("%+v", list)
	}
	s.away = errors.New("full")
	v.write(t.Context(), 1, func(context.Context) (Report, error) { return Report{}, nil })
	if v.Counts().WriteErrors != 1 {
		t.Errorf("%+v", v.Counts())
	}
}

// All streams of all relays together take bounded memory.
func TestPlacesAreBounded(t *testing.T) {
	var all []*member
	for range 12 {
		all = append(all, &member{streams: someStreams(MaxStreams)})
	}
	bound(all)
	places := 0
	for _, m := range all {
		places += len(m.streams)
		if len(m.streams) < MaxStreams && cap(m.streams) > 2*len(m.streams) {
			t.Errorf("%d streams are kept in the memory of %d", len(m.streams), cap(m.streams))
		}
	}
	if places > maxPlaces || places < maxPlaces-12 {
		t.Errorf("%d places are kept", places)
	}
}

// Whatever another relay reports: it harms no figure of the others, and can be shown.
func FuzzInfo(f *testing.F) {
	f.Add(encodeInfo(Info{Name: "x", Shards: 2, Sums: Sums{Sessions: 3, Streams: 1, BitrateIn: 1e6}, Revision: 1}), uint32(0))
	f.Add([]byte(`{"name":"x","sessions":-1,"bitrate_in_bps":1e300}`), uint32(7))
	f.Add([]byte(`{"place":"here","revision":18446744073709551615}`), uint32(3600))
	f.Add([]byte("null"), uint32(1))
	s := newStore("own")
	s.report("own", "a", 0, Stream{Key: "k", Backend: "b", Sessions: 2, Publishers: 1, Players: 1, In: 8, Out: 8})
	own := s.reports[0]
	f.Fuzz(func(t *testing.T, info []byte, age uint32) {
		s.reports = []Stored{own, {ID: "other", Info: info, Age: time.Duration(age) * time.Second}}
		v := viewOf(s)
		list := v.Relays(t.Context())
		if _, err := json.Marshal(list); err != nil {
			t.Fatal(err)
		}
		if len(list.Relays) == 0 || list.Sum.Sessions < 2 || list.Sum.Streams < 1 || list.Sum.BitrateIn < 8 || list.Alive+list.Away != len(list.Relays) {
			t.Errorf("%+v", list)
		}
		streams := v.Streams(t.Context(), answer.ClusterStreamQuery{Limit: 10})
		if streams.Total != 1 || streams.Streams[0].Sessions != 2 || streams.LeftOut < 0 {
			t.Errorf("%+v", streams)
		}
	})
}
