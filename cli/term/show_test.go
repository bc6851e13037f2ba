package term

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/golden"
)

// fixture reads an answer of the API.
func fixture[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "api", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var frame answer.Reply[T]
	if err := json.Unmarshal(text, &frame); err != nil {
		t.Fatal(err)
	}
	return frame.Data
}

// compareGolden compares with a kept file.
func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	want := golden.File(t, file, func() []byte { return []byte(got) })
	if got != string(want) {
		t.Errorf("%s differs:\n%s\nwant\n%s", file, got, want)
	}
}

var takenAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestTables(t *testing.T) {
	show, exact := Formatter{Now: takenAt}, Formatter{Exact: true, Now: takenAt}
	narrow := Formatter{Width: 80, Now: takenAt}
	streams := fixture[answer.StreamList](t, "streams").Streams
	sessions := fixture[answer.SessionList](t, "sessions").Sessions
	backends := fixture[answer.BackendList](t, "backends")
	places := fixture[answer.ClusterStreamList](t, "cluster/streams").Streams
	ordered := backends.Backends[0]
	ordered.ConfiguredWeight, ordered.OrderedBy = 1, "edge-2"
	for name, text := range map[string]string{
		"relays":             show.Relays(fixture[answer.RelayList](t, "cluster")),
		"relays-80":          narrow.Relays(fixture[answer.RelayList](t, "cluster")),
		"cluster-streams":    show.ClusterStreams(places),
		"cluster-streams-80": narrow.ClusterStreams(places),
		"cluster-stream":     show.ClusterStream(places[0]),
		"backend-ordered":    show.Backend(ordered),

		"streams":       show.Streams(streams),
		"streams-exact": exact.Streams(streams),
		"streams-80":    narrow.Streams(streams),
		"sessions-80":   narrow.Sessions(sessions),
		"stream":        show.Stream(fixture[answer.StreamDetail](t, "stream")),
		"sessions":      show.Sessions(sessions),
		"session":       show.Session(sessions[0]),
		"session-exact": exact.Session(sessions[0]),
		"session-bare":  show.Session(sessions[1]),
		"backends":      show.Backends(backends),
		"backend":       show.Backend(backends.Backends[0]),
		"shards":        show.Shards(fixture[answer.ShardList](t, "shards")),
	} {
		compareGolden(t, name, text)
		if strings.ContainsAny(text, "\x1b\r\t") {
			t.Errorf("%s holds what a terminal obeys", name)
		}
		for line := range strings.Lines(text) {
			if strings.TrimRight(line, " \n")+"\n" != line {
				t.Errorf("%s: blanks at the end of %q", name, line)
			}
		}
	}
}

func TestSharedState(t *testing.T) {
	for want, v := range map[string]answer.SharedState{
		"": {InUse: true, Since: takenAt},
		"redis is away since 2026-01-02T03:04:05Z, and nothing is known of the relays":        {Since: takenAt},
		"redis is away since 2026-01-02T03:04:05Z; this is as it was at 2026-01-02T03:04:04Z": {Since: takenAt, ReadAt: takenAt.Add(-time.Second)},
	} {
		if got := (Formatter{Exact: true}).SharedState(v); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestSources(t *testing.T) {
	list := answer.SourceList{Total: 2, Sources: []answer.Source{
		{Source: "192.0.2.1/32", Sessions: 1234, Connects: 0.2, Bitrate: 20_000_000},
		{Source: "2001:db8::/64", Sessions: 4, Handshakes: 2, Connects: 31, Refused: 14, Limit: "source connects"},
	}}
	want := "SOURCE         SESSIONS  CONNECTS/S      BITRATE  REFUSED  AT LIMIT         HANDSHAKES\n" +
		"192.0.2.1/32      1,234        0.20  20.0 Mbit/s        0                            0\n" +
		"2001:db8::/64         4        31.0      0 bit/s       14  source connects           2\n"
	if got := (Formatter{}).Sources(list); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestEventLines(t *testing.T) {
	shard := 1
	for want, e := range map[string]answer.Event{
		"2026-01-02 03:04:05.006  session-begun       stream=v/live/x  role=publisher  caller=192.0.2.7:1  backend=a  address=10.0.0.1:2  took=31.3 ms  session=0-1-2": {
			Kind: "session-begun", Shard: &shard, Session: "0-1-2", Stream: "v/live/x", Role: "publisher", Caller: "192.0.2.7:1",
			Backend: "a", Address: "10.0.0.1:2", TookMillis: 31.25,
		},
		`2026-01-02 03:04:05.006  session-ended       stream=a\x0ab  backend=10.0.0.1:2  cause=idle  took=1 min 30 s`: {
			Kind: "session-ended", Stream: "a\nb", Backend: "10.0.0.1:2", Address: "10.0.0.1:2", Cause: "idle", TookMillis: 90_000,
		},
		"2026-01-02 03:04:05.006  caller-rejected     code=2503  reason=down": {Kind: "caller-rejected", Code: 2503, Reason: "down"},
		"2026-01-02 03:04:05.006  caller-rejected     code=2402  reason=overload  limit=stream players": {
			Kind: "caller-rejected", Code: 2402, Reason: "overload", Limit: "stream players",
		},
		"2026-01-02 03:04:05.006  stream-over-limit   stream=v/live/x  role=publisher  bitrate=24.1 Mbit/s  max=20.0 Mbit/s": {
			Kind: "stream-over-limit", Stream: "v/live/x", Role: "publisher", Bitrate: 24_123_000, MaxBitrate: 20_000_000,
		},
		"2026-01-02 03:04:05.006  lost                lost=1,234": {Kind: "lost", Lost: 1234},
	} {
		e.Time = takenAt.Add(6 * time.Millisecond)
		if got := (Formatter{}).Event(e); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
}
