package api

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
	"srtrelay/shard"
)

// spoken plays the sampler of streams: it notes what it is asked.
type spoken struct {
	mu       sync.Mutex // guards what is noted
	sessions answer.SessionQuery
	streams  answer.StreamQuery
	kicked   []string
	absent   map[string]bool // keys that have no session
	err      error
	hold     func(ctx context.Context) error // what a question waits for
}

// noting takes down what many ask at once.
func (s *spoken) noting(note func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	note()
}

func (s *spoken) wait(ctx context.Context) error {
	if s.hold != nil {
		return s.hold(ctx)
	}
	return s.err
}

func (s *spoken) Sessions(ctx context.Context, q answer.SessionQuery) (answer.SessionList, error) {
	s.noting(func() { s.sessions = q })
	if q.Cursor == "end" || q.Stream != nil && (strings.HasSuffix(*q.Stream, "nobody/here") || s.absent[*q.Stream]) {
		return answer.SessionList{}, s.wait(ctx)
	}
	return answer.SessionList{Sessions: []answer.Session{oneSession()}, Cursor: "end"}, s.wait(ctx)
}

func (s *spoken) Session(ctx context.Context, id string) (answer.Session, bool, error) {
	return oneSession(), id == "0-1-2", s.wait(ctx)
}

func (s *spoken) Kick(ctx context.Context, id string) (bool, error) {
	if id != "0-1-2" {
		return false, s.wait(ctx)
	}
	s.noting(func() { s.kicked = append(s.kicked, id) })
	return true, s.wait(ctx)
}

func (s *spoken) Streams(ctx context.Context, q answer.StreamQuery) (answer.StreamList, error) {
	s.noting(func() { s.streams = q })
	if q.Match == "nothing" {
		return answer.StreamList{TakenAt: moment}, s.wait(ctx)
	}
	one := oneStream()
	if q.History == 0 {
		one.History = nil
	}
	return answer.StreamList{Streams: []answer.Stream{one}, Total: 1, TakenAt: moment}, s.wait(ctx)
}

func (s *spoken) Stream(ctx context.Context, key string) (answer.StreamDetail, bool, error) {
	d := answer.StreamDetail{Stream: oneStream(), TakenAt: moment}
	if key != "" {
		d.SessionList = []answer.Session{oneSession()}
	}
	return d, key == "" || key == "v/live/a" || key == "__defaultVhost__/live/b", s.wait(ctx)
}

var moment = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// oneSession has a value in every field.
func oneSession() answer.Session {
	number := func(f float64) *float64 { return &f }
	way := answer.Way{
		Packets: 1, Bytes: 2, Bitrate: 3.5, PacketRate: 4.5, DataPackets: 5, DataBytes: 6, Retransmitted: 7,
		FilterPackets: 8, LostBefore: 9, LostBehind: 10, LostReported: 11, Duplicated: 12, Reordered: 13, Dropped: 14,
		ACKs: 15, NAKs: 16, ACKACKs: 17, Implausible: 18,
		Receiver: &answer.Receiver{RTTMillis: 1.5, RTTVarianceMillis: 0.5, BufferPackets: 1, PacketRate: 2, CapacityPackets: 3, Bitrate: 4},
	}
	leg := answer.Leg{RTTMillis: number(1), RTTVarianceMillis: number(2), Measured: true, LossPercent: number(0), TotalLossPercent: number(4)}
	return answer.Session{
		ID: "0-1-2", State: "closing", Stream: "v/live/a", StreamID: "#!::r=live/a", Role: "publisher",
		Caller: "192.0.2.1:5000", Backend: answer.BackendRef{ID: "b", Address: "10.0.0.1:10080"},
		CallerSocketID: 1, BackendSocketID: 2, OpenedAt: moment, TakenAt: moment, HandshakeMillis: 3, AgeSeconds: 4, IdleSeconds: 5, Ended: "kicked",
		SRT: answer.Negotiated{
			CallerVersion: "1.5.3", BackendVersion: "1.4.4", LatencyToBackendMillis: 120, LatencyToCallerMillis: 80,
			Encryption: "aes-ctr", KeyLength: 128, KeyRefreshes: 1, GroupID: 1, GroupType: "backup", Filter: "fec,cols:10", Congestion: "live",
		},
		ToBackend: way, ToCaller: way, CallerLeg: leg, BackendLeg: leg,
	}
}

func oneStream() answer.Stream {
	number := func(f float64) *float64 { return &f }
	samples := []*float64{number(1), nil}
	return answer.Stream{
		Key: "v/live/a", Backend: answer.BackendRef{ID: "b", Address: "10.0.0.1:10080"}, Sessions: 2, Publishers: 1, Players: 1,
		Encrypted: true, Since: moment, BitrateIn: 1, BitrateOut: 2, BytesIn: 3, BytesOut: 4, Retransmitted: 5, Dropped: 6,
		CallerRTT: number(1), BackendRTT: number(2), CallerLoss: number(3), BackendLoss: number(0),
		History: &answer.History{
			StepSeconds: 1, End: moment, BitrateIn: samples, BitrateOut: samples, CallerRTT: samples,
			BackendRTT: samples, CallerLoss: samples, BackendLoss: samples,
		},
	}
}

func TestQueries(t *testing.T) {
	key := func(k string) *string { return &k }
	for query, want := range map[string]answer.SessionQuery{
		"":                        {Limit: 100},
		"limit=1000&role=player":  {Limit: 1000, Role: "player"},
		"stream=":                 {Limit: 100, Stream: key("")},
		"stream=v%2Fa%2Bb&limit=": {Limit: 100, Stream: key("v/a+b")},
		"backend=b&state=established&token=x&cursor=c": {Limit: 100, Backend: "b", State: "established", Cursor: "c"},
		"caller=192.0.2.1":               {Limit: 100, Caller: netip.MustParseAddrPort("192.0.2.1:0")},
		"caller=%5Bfd00::1%5D:7":         {Limit: 100, Caller: netip.MustParseAddrPort("[fd00::1]:7")},
		"caller=%5B::ffff:10.0.0.1%5D:7": {Limit: 100, Caller: netip.MustParseAddrPort("10.0.0.1:7")},
	} {
		r := &relay{}
		w := r.ask("GET", "/api/v1/sessions?"+query)
		got := r.spoken.sessions
		if w.Code != 200 || (got.Stream == nil) != (want.Stream == nil) || got.Stream != nil && *got.Stream != *want.Stream {
			t.Errorf("%s: %d %+v", query, w.Code, got)
		}
		got.Stream, want.Stream = nil, nil
		if got != want {
			t.Errorf("%s: %+v, want %+v", query, got, want)
		}
	}
	for query, want := range map[string]answer.StreamQuery{
		"":                                {Limit: 100, Sort: "bitrate"},
		"q=live&offset=5000&limit=1":      {Limit: 1, Sort: "bitrate", Match: "live", Offset: 5000},
		"backend=b&sort=loss&history=120": {Limit: 100, Backend: "b", Sort: "loss", History: 120},
	} {
		r := &relay{}
		if w := r.ask("GET", "/api/v1/streams?"+query); w.Code != 200 || r.spoken.streams != want {
			t.Errorf("%s: %d %+v, want %+v", query, w.Code, r.spoken.streams, want)
		}
	}
}

// One line that begins with the parameter to blame.
func TestBadQueries(t *testing.T) {
	for path, want := range map[string]string{
		"sessions?limit=0":              `limit: "0" is not within 1 to 1000`,
		"sessions?limit=1001":           `limit: "1001" is not within 1 to 1000`,
		"sessions?limit=1e2":            `limit: "1e2" is not within 1 to 1000`,
		"sessions?limit=1&limit=2":      `limit: given more than once`,
		"sessions?limt=5":               `limt: unknown parameter, there are stream, backend, caller, role, state, limit, cursor`,
		"sessions?role=publish":         `role: "publish" is none of publisher, player`,
		"sessions?state=alive":          `state: "alive" is none of resolving, connecting, established, rejected, closing`,
		"sessions?caller=relay.example": `caller: "relay.example" is neither an IP address nor one with a port`,
		"sessions?stream=%zz":           `query: invalid URL escape "%zz"`,
		"streams?sort=name":             `sort: "name" is none of bitrate, rtt, loss, sessions, key, since`,
		"streams?history=121":           `history: "121" is not within 0 to 120`,
		"streams?offset=-1":             `offset: "-1" is not within 0 to 100000000`,
		"streams?stream=a":              `stream: unknown parameter, there are backend, q, sort, limit, offset, history`,
		"streams/one":                   `key: missing; it is to be percent-encoded, and may be empty`,
		"streams/one?key=a&key=b":       `key: given more than once`,
		"events?kind=session":           `kind: "session" is no kind of event`,
		"events?after=x":                `after: "x" is not the ID of an event`,
	} {
		w := (&relay{}).ask("GET", "/api/v1/"+path)
		if frame := `{"code":400,"error":` + strconv.Quote(want) + "}\n"; w.Code != 400 || w.Body.String() != frame {
			t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, frame)
		}
	}
}

// The shards name states and causes; openapi.yaml lists the names once more.
func TestOpenAPIHasEveryStateAndCause(t *testing.T) {
	var causes []string
	for _, c := range shard.Causes() {
		causes = append(causes, c.String())
	}
	for _, names := range [][]string{shard.StateNames(), causes} {
		if list := "enum: [" + strings.Join(names, ", ") + "]"; !strings.Contains(string(document), list) {
			t.Errorf("openapi.yaml has no %s", list)
		}
	}
}

func TestUnknownOnes(t *testing.T) {
	for path, want := range map[string]string{
		"sessions/0-1-3":     "no such session: 0-1-3",
		"sessions/..%2f":     "no such session: ../",
		"streams/one?key=no": "no such stream: no",
	} {
		if w := (&relay{}).ask("GET", "/api/v1/"+path); w.Code != 404 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestKickNeedsTheToken(t *testing.T) {
	d := newFixture(t, "secret-token")
	said := d.deps.Streams.(*spoken)
	if w := d.call("DELETE", "/api/v1/sessions/0-1-2", ""); w.Code != 401 || len(said.kicked) > 0 {
		t.Errorf("without a token: %d, kicked %v", w.Code, said.kicked)
	}
	d.expect(200, `{"code":0}`, d.call("DELETE", "/api/v1/sessions/0-1-2", "", "Authorization", "Bearer secret-token"))
	d.expect(404, `{"code":404,"error":"no such session: 0-9-9"}`, d.call("DELETE", "/api/v1/sessions/0-9-9?token=secret-token", ""))
	if len(said.kicked) != 1 || !strings.Contains(d.log.String(), "session closed") {
		t.Errorf("kicked %v, log %s", said.kicked, &d.log)
	}
}

func TestQuestionsThatFail(t *testing.T) {
	for err, want := range map[error]string{
		answer.ErrCursor:               `400 {"code":400,"error":"cursor: not a cursor of this relay"}`,
		errors.New("shard is stopped"): `503 {"code":503,"error":"shards cannot be asked at present: shard is stopped"}`,
	} {
		r := &relay{spoken: spoken{err: err}}
		for _, path := range []string{"sessions", "sessions/0-1-2", "streams", "streams/one?key="} {
			w := r.ask("GET", "/api/v1/"+path)
			if got := strconv.Itoa(w.Code) + " " + strings.TrimSpace(w.Body.String()); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
			if after := w.Header().Get("Retry-After"); (after != "") != (w.Code == 503) {
				t.Errorf("%s: Retry-After %q with %d", path, after, w.Code)
			}
		}
	}
}

// However many ask: few questions reach the shards at once, no answer waits
// without end, and no more are under way than there is memory for.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &relay{}
		var asked atomic.Int64
		r.spoken.hold = func(ctx context.Context) error {
			asked.Add(1)
			<-ctx.Done()
			return ctx.Err()
		}
		mux := newHandler("v1", r.deps(), discard).mux()
		statuses := make(chan string, 2*maxLarge)
		begun := time.Now()
		for range 2 * maxLarge {
			go func() {
				one := recordOf(mux, "GET", "/api/v1/sessions/0-1-2")
				many := recordOf(mux, "GET", "/api/v1/streams")
				statuses <- strconv.Itoa(one.Code) + strconv.Itoa(many.Code)
			}()
		}
		synctest.Wait()
		if n := asked.Load(); n != maxQueries {
			t.Errorf("%d questions at once, want %d", n, maxQueries)
		}
		for range cap(statuses) {
			if got := <-statuses; got != "503503" {
				t.Errorf("statuses %s", got)
			}
		}
		if d := time.Since(begun); d != 2*queryTimeout {
			t.Errorf("took %v, want %v", d, 2*queryTimeout)
		}
	})
}

func TestLargeAnswersAreBounded(t *testing.T) {
	r := &relay{}
	h := newHandler("v1", r.deps(), discard)
	for range maxLarge {
		h.largeSlots <- struct{}{}
	}
	for path, want := range map[string]int{"streams": 503, "sessions": 503, "streams/one?key=": 503, "sessions/0-1-2": 200, "shards": 200} {
		w := recordOf(h.mux(), "GET", "/api/v1/"+path)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	h.largeSlots.release()
	w := recordOf(h.mux(), "GET", "/api/v1/streams")
	if w.Code != 200 || len(h.largeSlots) != maxLarge-1 {
		t.Errorf("with room again: %d, %d under way", w.Code, len(h.largeSlots))
	}
}
