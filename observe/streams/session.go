package streams

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"srtrelay/streamid"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// established is the state of a session that can have media.
var established = shard.StateEstablished.String()

// Sessions returns one page of sessions.
func (w *Watch) Sessions(ctx context.Context, q answer.SessionQuery) (answer.SessionList, error) {
	at, err := parseCursor(q.Cursor)
	if err != nil {
		return answer.SessionList{}, err
	}
	want := shard.Filter{State: q.State, Key: q.Stream, Backend: backend.ID(q.Backend), Caller: q.Caller, Role: roles[q.Role]}
	list := answer.SessionList{Sessions: []answer.Session{}}
	views := make([]shard.View, min(q.Limit, sliceSize))
	for done := false; len(list.Sessions) < q.Limit; {
		room := min(q.Limit-len(list.Sessions), len(views))
		var n int
		if n, at, done, err = w.group.Walk(ctx, at, views[:room], want); err != nil {
			return answer.SessionList{}, err
		}
		for i := range views[:n] {
			list.Sessions = append(list.Sessions, w.session(&views[i]))
		}
		if done {
			return list, nil
		}
	}
	list.Cursor = cursor(at)
	return list, nil
}

var roles = map[string]shard.Role{answer.RolePublisher: shard.RolePublisher, answer.RolePlayer: shard.RolePlayer}

// cursor returns the text of the place where the next page begins.
func cursor(p shard.Cursor) string { return fmt.Sprintf("%d.%d", p.Shard, p.Index) }

func parseCursor(text string) (p shard.Cursor, err error) {
	if text == "" {
		return p, nil
	}
	if _, err := fmt.Sscanf(text, "%d.%d", &p.Shard, &p.Index); err != nil || cursor(p) != text || p.Shard < 0 {
		return shard.Cursor{}, answer.ErrCursor
	}
	return p, nil
}

// Session returns one session; false if no session has this ID.
func (w *Watch) Session(ctx context.Context, id string) (answer.Session, bool, error) {
	sid, err := shard.ParseSessionID(id)
	if err != nil {
		return answer.Session{}, false, nil
	}
	v, found, err := w.group.Session(ctx, sid)
	if err != nil || !found {
		return answer.Session{}, false, err
	}
	return w.session(&v), true, nil
}

// Kick ends a session; false if no session has this ID.
func (w *Watch) Kick(ctx context.Context, id string) (bool, error) {
	sid, err := shard.ParseSessionID(id)
	if err != nil {
		return false, nil
	}
	return w.group.Kick(ctx, sid)
}

// session converts a view to the API's JSON.
func (w *Watch) session(v *shard.View) answer.Session {
	r := w.ratesOf(v.ID)
	callerTotal, backendTotal := lossBySide(mediaOf(&v.Sample, telemetry.ToBackend), mediaOf(&v.Sample, telemetry.ToCaller))
	callerTrip, backendTrip := roundTrips(&v.Sample)
	s := answer.Session{
		ID: v.ID.String(), Shard: v.ID.Shard, State: v.State,
		Stream: v.Key, StreamID: streamid.Redact(v.StreamID), Role: answer.Role(v.Publish),
		Caller: v.Caller.String(), Backend: ref(v), Migrations: v.Migrations,
		CallerSocketID: v.CallerSocket, BackendSocketID: v.BackendSocket,
		OpenedAt: v.Opened, TakenAt: v.Taken.UTC(), IdleSeconds: since(v.Taken, v.Seen),
		Ended: v.Cause.String(), SRT: negotiated(v),
		ToBackend:  way(v.ToBackend, &v.Ways[telemetry.ToBackend], r.flow[telemetry.ToBackend]),
		ToCaller:   way(v.ToCaller, &v.Ways[telemetry.ToCaller], r.flow[telemetry.ToCaller]),
		CallerLeg:  leg(callerTrip, r.caller, callerTotal),
		BackendLeg: leg(backendTrip, r.backend, backendTotal),
	}
	if !v.Begun.IsZero() {
		s.HandshakeMillis = millis(v.Begun.Sub(v.Opened))
		end := v.Taken
		if !v.Ended.IsZero() {
			end = v.Ended
		}
		s.AgeSeconds = since(end, v.Begun)
	}
	return s
}

func ref(v *shard.View) answer.BackendRef {
	r := answer.BackendRef{ID: string(v.BackendID)}
	if v.Backend != (netip.AddrPort{}) {
		r.Address = v.Backend.String()
	}
	return r
}

// since returns the seconds from then to now, 0 for no time.
func since(now, then time.Time) float64 {
	if then.IsZero() {
		return 0
	}
	return max(now.Sub(then).Seconds(), 0)
}

func way(f shard.Flow, q *telemetry.Quality, r flowRate) answer.Way {
	w := answer.Way{
		Packets: f.Packets, Bytes: f.Bytes, Bitrate: float64(r.bits), PacketRate: float64(r.packets),
		DataPackets: q.Packets, DataBytes: q.Bytes, Retransmitted: q.Retransmitted, FilterPackets: q.Filter,
		LostBefore: q.LostBefore, LostBehind: q.LostBehind, LostReported: q.LostReported,
		Duplicated: q.Duplicated, Reordered: q.Reordered, Dropped: q.Dropped,
		ACKs: q.ACKs, NAKs: q.NAKs, ACKACKs: q.ACKACKs, Implausible: uint64(q.Implausible),
	}
	if q.Heard {
		w.Receiver = &answer.Receiver{
			RTTMillis: float64(q.Receiver.RTT) / 1000, RTTVarianceMillis: float64(q.Receiver.RTTVar) / 1000,
			BufferPackets: q.Receiver.Buffer, PacketRate: q.Receiver.PacketRate,
			CapacityPackets: q.Receiver.Capacity, Bitrate: 8 * float64(q.Receiver.ByteRate),
		}
	}
	return w
}

func negotiated(v *shard.View) answer.Negotiated {
	t := &v.Terms
	n := answer.Negotiated{
		CallerVersion: version(t.CallerVersion), BackendVersion: version(t.BackendVersion),
		LatencyToBackendMillis: int(t.LatencyToBackend), LatencyToCallerMillis: int(t.LatencyToCaller),
		Encryption: ciphers[t.Cipher], KeyLength: 8 * int(t.KeyLen),
		KeyRefreshes: v.Ways[telemetry.ToBackend].KeyRefreshes + v.Ways[telemetry.ToCaller].KeyRefreshes,
		GroupID:      t.GroupID, GroupType: groupTypes[t.GroupType],
	}
	if n.Encryption == "" {
		n.Encryption = answer.EncryptionNone
	}
	if t.Names != nil {
		n.Filter, n.Congestion = t.Names.Filter, t.Names.Congestion
	}
	return n
}

var (
	ciphers = map[telemetry.Cipher]string{
		telemetry.CipherNone: answer.EncryptionNone, telemetry.CipherCTR: answer.EncryptionAESCTR, telemetry.CipherGCM: answer.EncryptionAESGCM,
	}
	groupTypes = map[uint8]string{1: answer.GroupBroadcast, 2: answer.GroupBackup}
)

// version formats 0x00010503 as 1.5.3.
func version(v uint32) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v>>16, v>>8&0xFF, v&0xFF)
}
