package streams

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

func (r *rig) one(v *shard.View) answer.Session {
	r.t.Helper()
	s, found, err := r.Session(r.t.Context(), v.ID.String())
	if err != nil || !found {
		r.t.Fatalf("%v, %v", found, err)
	}
	return s
}

func TestRates(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	flow(v, telemetry.ToBackend, 1000)
	v.Begun = began.Add(-time.Minute)
	r.pass(v)
	if s := r.one(v); s.ToBackend.Bitrate != 0 {
		t.Errorf("a session that was not followed has %v bit/s at once", s.ToBackend.Bitrate)
	}
	flow(v, telemetry.ToBackend, 200)
	r.pass(v)
	if s := r.one(v); !near(s.ToBackend.Bitrate, 200*1332*8) || !near(s.ToBackend.PacketRate, 200) || s.ToCaller.Bitrate != 0 {
		t.Errorf("%+v", s.ToBackend)
	}
	// A short pause shows as one, and its end as what it is.
	for range idleRounds {
		r.pass()
		if s := r.one(v); s.ToBackend.Bitrate != 0 {
			t.Errorf("%v bit/s in a pause", s.ToBackend.Bitrate)
		}
	}
	flow(v, telemetry.ToBackend, 100)
	r.pass(v)
	if s := r.one(v); !near(s.ToBackend.PacketRate, 100) {
		t.Errorf("%v packets/s after a pause, want 100", s.ToBackend.PacketRate)
	}
	// Who is silent for long is not remembered.
	for range idleRounds + 1 {
		r.pass()
	}
	if n := r.followed(); n != 0 {
		t.Errorf("%d tracks", n)
	}
}

// A session that began within the last second counts from its beginning.
func TestRatesFromTheBeginning(t *testing.T) {
	r := newRig(t)
	r.pass()
	v := r.add(1, "live/a", true)
	v.Begun = r.now.Add(step / 2)
	flow(v, telemetry.ToBackend, 100)
	r.pass(v)
	if s := r.one(v); !near(s.ToBackend.PacketRate, 200) {
		t.Errorf("%v packets/s, want 100 in half a second", s.ToBackend.PacketRate)
	}
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		name                          string
		way                           telemetry.Way
		grow                          telemetry.Counts
		caller, backend, total, other string
	}{
		{"none either side", telemetry.ToBackend, telemetry.Counts{}, "0.000", "0.000", "0.000", "0.000"},
		{"publisher, before", telemetry.ToBackend, telemetry.Counts{LostBefore: 25}, "20.000", "0.000", "11.111", "0.000"},
		{"publisher, behind", telemetry.ToBackend, telemetry.Counts{LostBehind: 25}, "0.000", "25.000", "0.000", "12.500"},
		{"player, before", telemetry.ToCaller, telemetry.Counts{LostBefore: 25}, "0.000", "20.000", "0.000", "11.111"},
		{"player, behind", telemetry.ToCaller, telemetry.Counts{LostBehind: 25}, "25.000", "0.000", "12.500", "0.000"},
		{"more than all", telemetry.ToCaller, telemetry.Counts{LostBehind: 1000}, "100.000", "0.000", "100.000", "0.000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			v := r.add(1, "live/a", c.way == telemetry.ToBackend)
			flow(v, c.way, 100)
			r.pass(v)
			flow(v, c.way, 100)
			v.Ways[c.way].LostBefore += c.grow.LostBefore
			v.Ways[c.way].LostBehind += c.grow.LostBehind
			r.pass(v)
			s := r.one(v)
			got := [4]string{
				shown(s.CallerLeg.LossPercent), shown(s.BackendLeg.LossPercent),
				shown(s.CallerLeg.TotalLossPercent), shown(s.BackendLeg.TotalLossPercent),
			}
			if want := [4]string{c.caller, c.backend, c.total, c.other}; got != want {
				t.Errorf("caller, backend now and in all: %v, want %v", got, want)
			}
			// A packet that was only late takes its loss back.
			v.Ways[c.way].LostBefore = 0
			flow(v, c.way, 10)
			r.pass(v)
			if s := r.one(v); shown(s.CallerLeg.LossPercent) != "0.000" || shown(s.BackendLeg.LossPercent) != "0.000" {
				t.Errorf("%s and %s after that", shown(s.CallerLeg.LossPercent), shown(s.BackendLeg.LossPercent))
			}
			r.pass()
			if s := r.one(v); s.CallerLeg.LossPercent != nil || s.CallerLeg.TotalLossPercent == nil {
				t.Error("loss at present of what does not flow, or none in all")
			}
		})
	}
}

func TestLegs(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name            string
		set             func(*shard.View)
		caller, backend string // RTT, m if measured
	}{
		{"nothing known", func(*shard.View) {}, "none", "none"},
		{"publisher", func(v *shard.View) { timed(v, telemetry.ToBackend, 30*ms, 50*ms) }, "30.000m", "20.000"},
		{"player", func(v *shard.View) { timed(v, telemetry.ToCaller, 30*ms, 50*ms) }, "20.000", "30.000m"},
		{"a rest below zero", func(v *shard.View) { timed(v, telemetry.ToBackend, 30*ms, 29*ms) }, "30.000m", "0.000"},
		{"receiver not heard", func(v *shard.View) { timed(v, telemetry.ToBackend, 30*ms, 0) }, "30.000m", "none"},
		{"receiver heard only", func(v *shard.View) { v.Ways[0].Heard, v.Ways[0].Receiver.RTT = true, 5000 }, "none", "none"},
		{"receiver has measured nothing", func(v *shard.View) {
			timed(v, telemetry.ToBackend, 30*ms, 100*ms)
			v.Ways[0].Receiver.RTTVar = unmeasuredRTTVar
		}, "30.000m", "none"},
		{"both ways", func(v *shard.View) {
			timed(v, telemetry.ToBackend, 30*ms, 50*ms)
			timed(v, telemetry.ToCaller, 40*ms, 50*ms)
		}, "30.000m", "40.000m"},
	} {
		r := newRig(t)
		v := r.add(1, "live/a", true)
		c.set(v)
		s := r.one(v)
		text := func(l answer.Leg) string {
			if l.Measured != (l.RTTVarianceMillis != nil) {
				t.Errorf("%s: measured %v, variance %s", c.name, l.Measured, shown(l.RTTVarianceMillis))
			}
			if l.Measured {
				return shown(l.RTTMillis) + "m"
			}
			return shown(l.RTTMillis)
		}
		if caller, backend := text(s.CallerLeg), text(s.BackendLeg); caller != c.caller || backend != c.backend {
			t.Errorf("%s: %s and %s, want %s and %s", c.name, caller, backend, c.caller, c.backend)
		}
	}
}

// Everything a view has is in the answer.
func TestSessionWhole(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", false)
	v.State, v.Cause = "closing", shard.CauseKicked
	v.Ended, v.Taken, v.Seen = v.Begun.Add(10*time.Second), v.Begun.Add(12*time.Second), v.Begun.Add(9*time.Second)
	v.ToBackend, v.ToCaller = shard.Flow{Packets: 1, Bytes: 2}, shard.Flow{Packets: 3, Bytes: 4}
	v.Terms = telemetry.Terms{
		Names: &telemetry.Names{Filter: "fec", Congestion: "live"}, CallerVersion: 0x10503, BackendVersion: 0x10401,
		LatencyToBackend: 120, LatencyToCaller: 200, GroupID: 0x40000001, GroupType: 2, Cipher: telemetry.CipherGCM, KeyLen: 32,
	}
	q := &v.Ways[telemetry.ToCaller]
	q.Counts = telemetry.Counts{
		Packets: 1, Bytes: 2, Retransmitted: 3, Filter: 4, LostBefore: 5, LostBehind: 6, LostReported: 7, Duplicated: 8,
		Reordered: 9, Dropped: 10, ACKs: 11, NAKs: 12, ACKACKs: 13, KeyRefreshes: 14,
	}
	q.Heard, q.Receiver = true, telemetry.Receiver{RTT: 1500, RTTVar: 250, Buffer: 3, PacketRate: 4, Capacity: 5, ByteRate: 6}
	v.Ways[telemetry.ToBackend].KeyRefreshes = 1
	got := r.one(v)
	got.CallerLeg, got.BackendLeg = answer.Leg{}, answer.Leg{}
	want := answer.Session{
		ID: "0-1-7", State: "closing", Stream: "live/a", StreamID: "#!::r=live/a,token=***", Role: "player",
		Caller: "10.0.0.1:1001", Backend: answer.BackendRef{ID: "b1", Address: "10.1.0.1:10080"},
		CallerSocketID: 101, BackendSocketID: 201, OpenedAt: v.Opened, TakenAt: v.Taken.UTC(), HandshakeMillis: 30, AgeSeconds: 10, IdleSeconds: 3,
		Ended: "kicked",
		SRT: answer.Negotiated{
			CallerVersion: "1.5.3", BackendVersion: "1.4.1", LatencyToBackendMillis: 120, LatencyToCallerMillis: 200,
			Encryption: "aes-gcm", KeyLength: 256, KeyRefreshes: 15, GroupID: 0x40000001, GroupType: "backup",
			Filter: "fec", Congestion: "live",
		},
		ToBackend: answer.Way{Packets: 1, Bytes: 2},
		ToCaller: answer.Way{
			Packets: 3, Bytes: 4, DataPackets: 1, DataBytes: 2, Retransmitted: 3, FilterPackets: 4, LostBefore: 5, LostBehind: 6,
			LostReported: 7, Duplicated: 8, Reordered: 9, Dropped: 10, ACKs: 11, NAKs: 12, ACKACKs: 13,
			Receiver: &answer.Receiver{
				RTTMillis: 1.5, RTTVarianceMillis: 0.25, BufferPackets: 3, PacketRate: 4, CapacityPackets: 5, Bitrate: 48,
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSessionList(t *testing.T) {
	r := newRig(t)
	for i := range uint32(20) {
		r.add(i, []string{"live/a", "live/b"}[i%2], i%3 == 0)
	}
	count := func(q answer.SessionQuery) (ids []string, pages int) {
		for {
			list, err := r.Sessions(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Sessions) > q.Limit || list.Sessions == nil {
				t.Fatalf("%d sessions, at most %d", len(list.Sessions), q.Limit)
			}
			pages++
			for _, s := range list.Sessions {
				ids = append(ids, s.ID)
			}
			if q.Cursor = list.Cursor; q.Cursor == "" {
				return ids, pages
			}
		}
	}
	for _, c := range []struct {
		q            answer.SessionQuery
		total, pages int
	}{
		{answer.SessionQuery{Limit: 100}, 20, 1},
		{answer.SessionQuery{Limit: 7}, 20, 3},
		{answer.SessionQuery{Limit: 1}, 20, 20},
		{answer.SessionQuery{Limit: 20}, 20, 1},
		{answer.SessionQuery{Limit: 100, Stream: new("live/a")}, 10, 1},
		{answer.SessionQuery{Limit: 100, Role: "publisher"}, 7, 1},
		{answer.SessionQuery{Limit: 100, Role: "player"}, 13, 1},
		{answer.SessionQuery{Limit: 100, State: "closing"}, 0, 1},
		{answer.SessionQuery{Limit: 100, Backend: "b2"}, 0, 1},
	} {
		ids, pages := count(c.q)
		seen := map[string]bool{}
		for _, id := range ids {
			seen[id] = true
		}
		if len(ids) != c.total || len(seen) != c.total || pages != c.pages {
			t.Errorf("%+v: %d sessions, %d of them different, on %d pages; want %d on %d", c.q, len(ids), len(seen), pages, c.total, c.pages)
		}
	}
	for _, cursor := range []string{"x", "1", "1.", "-1.0", "0.-1", "0.1x", "0.4294967296", "+0.1", "0.1.2"} {
		if _, err := r.Sessions(t.Context(), answer.SessionQuery{Limit: 1, Cursor: cursor}); !errors.Is(err, answer.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

func TestKick(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	for id, want := range map[string]bool{v.ID.String(): true, "0-9-9": false, "x": false} {
		if ok, err := r.Kick(t.Context(), id); ok != want || err != nil {
			t.Errorf("%q: %v, %v", id, ok, err)
		}
	}
	if _, found, err := r.Session(t.Context(), "x"); found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if len(r.shards.kicked) != 2 {
		t.Errorf("kicked %v", r.shards.kicked)
	}
}
