package shard

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

func TestSessionID(t *testing.T) {
	for _, id := range []SessionID{{0, 0, 1}, {3, 17, 42}, {1023, 1<<30 - 1, 1<<32 - 1}} {
		if got, err := ParseSessionID(id.String()); err != nil || got != id {
			t.Errorf("%v: %v, %v", id, got, err)
		}
	}
	for _, text := range []string{
		"", "1", "1-2", "1-2-3-4", "-1-2-3", "1--3", "1-2-", "1-2-x", "+1-2-3", "1-4294967296-3", "2147483648-1-1", " 1-2-3", "1-2-3\n",
	} {
		if id, err := ParseSessionID(text); err == nil {
			t.Errorf("%q is %v", text, id)
		}
	}
}

// views returns all sessions that are wanted.
func (r *rig) views(w Filter) []View {
	r.t.Helper()
	all := make([]View, maxViews)
	n, _, end := r.walk(0, all, &w)
	if !end {
		r.t.Fatalf("not the end after %d sessions", n)
	}
	return all[:n]
}

// samples returns samples of the sessions with media since a time, which are few.
func (r *rig) samples(since time.Time) []Sample {
	r.t.Helper()
	all := make([]Sample, maxViews)
	n, _, end := r.sampleSome(0, all, since.Sub(r.origin))
	if !end {
		r.t.Fatalf("not the end after %d sessions", n)
	}
	return all[:n]
}

// only returns the one session that there is.
func (r *rig) only() View {
	r.t.Helper()
	all := r.views(Filter{})
	if len(all) != 1 {
		r.t.Fatalf("%d sessions, want 1", len(all))
	}
	return all[0]
}

// media builds a data packet with a sequence number.
func media(id, seq, word uint32) []byte {
	b := packet(id, 1332)
	binary.BigEndian.PutUint32(b, seq)
	binary.BigEndian.PutUint32(b[4:], word)
	return b
}

// ackOf builds a full ACK or, without words, an ACKACK.
func ackOf(t wire.ControlType, id, number uint32, words ...uint32) []byte {
	b := make([]byte, wire.HeaderSize)
	wire.PutControl(b, t, 0, id)
	binary.BigEndian.PutUint32(b[4:], number)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// A session can be seen from its CONCLUSION until it is forgotten.
func TestViewThroughLife(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second) // at 0 nothing has happened yet
	r.balancer.hold = true
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 500))
	v := r.only()
	if v.State != "resolving" || v.ID.IsZero() || v.Key != "__defaultVhost__/live/x" || !v.Publish ||
		v.StreamID != "#!::r=live/x,m=publish" || v.Caller != addrOf(r.caller) || v.CallerSocket != callerID ||
		v.Opened.IsZero() || !v.Begun.IsZero() || v.Backend.IsValid() || v.BackendID != "" {
		t.Errorf("resolving: %+v", v)
	}
	id, opened := v.ID, v.Opened

	r.balancer.held[0]()
	r.settle()
	if v = r.only(); v.State != "connecting" || v.BackendID != "b1" || v.Backend != addrOf(r.backend) || v.BackendSocket != 0 {
		t.Errorf("connecting: %+v", v)
	}
	h, upstream := r.answerInduction()
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
	if v = r.only(); v.State != "established" || v.BackendSocket != backendID || v.Begun.IsZero() || v.Seen.IsZero() || !v.Media.IsZero() {
		t.Errorf("established: %+v", v)
	}
	if v.Terms.CallerVersion != 0x10501 || v.Terms.BackendVersion != 0x10501 || v.Terms.LatencyToBackend != 120 {
		t.Errorf("terms: %+v", v.Terms)
	}

	r.send(r.caller, media(backendID, callerISN, 3<<30|1))
	if n := recordsOf(&r.meters); n != 1 {
		t.Errorf("%d records of telemetry", n)
	}
	r.send(r.caller, ackOf(wire.TypeShutdown, backendID, 0, 0))
	if v = r.only(); v.State != "closing" || v.Cause != CauseCaller || v.Ended.IsZero() || v.BackendID != "b1" || v.ID != id || !v.Opened.Equal(opened) {
		t.Errorf("closing: %+v", v)
	}
	if e := r.lastEvent(EventSessionEnded); e.Session != id {
		t.Errorf("the end of %v, want %v", e.Session, id)
	}
	r.pass(tombstoneTTL + time.Second)
	if all := r.views(Filter{}); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
	r.wantEmpty()
	if n := recordsOf(&r.meters); n != 0 {
		t.Errorf("%d records of telemetry left", n)
	}
}

func TestViewOfRejected(t *testing.T) {
	r := newRig(t)
	r.balancer.err = errTest
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 500))
	if v := r.only(); v.State != "rejected" || v.Backend.IsValid() {
		t.Errorf("%+v", v)
	}
	r.pass(handshake.RejectionTTL + time.Second)
	r.wantEmpty()
}

// What passes is measured: media each way, and the round trip by the relay's
// own clock.
func TestTelemetry(t *testing.T) {
	r := newRig(t)
	up := r.establish(r.caller, callerID, callerISN, backendID)
	for _, seq := range []uint32{callerISN, callerISN + 1, callerISN + 3} {
		r.send(r.caller, media(backendID, seq, 3<<30|1))
	}
	r.send(r.caller, media(backendID, callerISN+2, 3<<30|1|wire.RexmitBit))
	r.send(r.caller, media(backendID, callerISN+1, 3<<30|1|wire.RexmitBit))
	r.reply(up, media(callerID, callerISN+1, 3<<30|1))
	r.reply(up, ackOf(wire.TypeACK, callerID, 7, callerISN+4, 50_000, 1000, 8000, 190, 2000, 250_000))
	r.pass(40 * time.Millisecond)
	r.send(r.caller, ackOf(wire.TypeACKACK, backendID, 7))
	v := r.only()
	got := v.Ways[telemetry.ToBackend].Counts
	if want := (telemetry.Counts{
		Packets: 5, Bytes: 5 * 1316, Retransmitted: 2, LostBefore: 1, LostBehind: 1, ACKs: 1, ACKACKs: 1,
	}); got != want {
		t.Errorf("to the backend %+v\nwant %+v", got, want)
	}
	if got := v.Ways[telemetry.ToCaller].Counts; got != (telemetry.Counts{Packets: 1, Bytes: 1316, LostBefore: 1}) {
		t.Errorf("to the caller %+v", got)
	}
	if q := v.Ways[telemetry.ToBackend]; !q.Timed || q.RTT < 40*time.Millisecond || q.RTT > time.Second || q.Receiver.RTT != 50_000 {
		t.Errorf("RTT %v, receiver %+v", q.RTT, q.Receiver)
	}
	if v.ToBackend.Packets != 6 || v.ToCaller.Packets != 2 || v.Media.IsZero() || v.Media.After(v.Taken) {
		t.Errorf("%+v", v)
	}
	if n := recordsOf(&r.meters); n != 2 {
		t.Errorf("%d records", n)
	}
}

// HSv4's peers settle their terms after the handshake; from then on bit 26 has
// its meaning.
func TestTermsThatComeLater(t *testing.T) {
	r := newRig(t)
	up := r.establish(r.caller, callerID, callerISN, backendID)
	r.sessions.cold(0).terms = telemetry.Terms{}
	r.meters.Settle(&r.sessions.at(0).meter, &telemetry.Terms{})
	again := media(backendID, callerISN, 3<<30|1|wire.RexmitBit)
	r.send(r.caller, again)
	response := ackOf(wire.TypeUser, callerID, 0, 0x10203, 0x2F, 70<<16)
	binary.BigEndian.PutUint16(response[2:], wire.SubtypeHSRsp)
	r.reply(up, response)
	r.send(r.caller, again)
	v := r.only()
	if v.Terms.BackendVersion != 0x10203 || v.Terms.LatencyToBackend != 70 {
		t.Errorf("%+v", v.Terms)
	}
	if c := v.Ways[telemetry.ToBackend].Counts; c.Retransmitted != 1 || c.LostBehind != 1 || c.Packets != 2 {
		t.Errorf("%+v", c)
	}
}

// recordsOf returns how many records of telemetry are in use.
func recordsOf(s *telemetry.Slab) (n int) {
	slab := reflect.ValueOf(s).Elem()
	chunks := slab.FieldByName("chunks")
	for i := range chunks.Len() {
		n += chunks.Index(i).Elem().Len()
	}
	return n - slab.FieldByName("free").Len()
}

// Switched off, nothing is measured, and what the handshake settled is known.
func TestTelemetryOff(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Telemetry = false })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.send(r.caller, media(backendID, callerISN+3, 3<<30|1))
	v := r.only()
	if recordsOf(&r.meters) != 0 || v.Ways != [2]telemetry.Quality{} || v.ToBackend.Packets != 1 || v.Terms.LatencyToBackend != 120 {
		t.Errorf("%+v, %d records", v, recordsOf(&r.meters))
	}
	if n := len(r.samples(v.Seen)); n != 1 {
		t.Errorf("%d active sessions", n)
	}
	if n := len(r.samples(v.Seen.Add(1))); n != 0 {
		t.Errorf("%d sessions are active later", n)
	}
}

// A sample says the same as a view, and only sessions with media have one.
func TestSamples(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	first := r.only().ID
	r.establish(r.dialFront(), callerID+1, callerISN, backendID+1)
	if all := r.samples(r.origin); len(all) != 0 {
		t.Errorf("without media: %+v", all)
	}
	r.send(r.caller, media(backendID, callerISN, 3<<30|1))
	var active View
	for _, v := range r.views(Filter{}) {
		if v.ID == first {
			active = v
		}
	}
	if all := r.samples(active.Media); len(all) != 1 || all[0] != active.Sample || all[0].Ways[telemetry.ToBackend].Packets != 1 {
		t.Errorf("with media: %+v, want %+v", all, active.Sample)
	}
	if all := r.samples(active.Media.Add(1)); len(all) != 0 {
		t.Errorf("with newer media: %+v", all)
	}
	r.kick(first)
	if all := r.samples(active.Media); len(all) != 0 {
		t.Errorf("after its end: %+v", all)
	}
}

func TestWant(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	other := r.dialFront()
	r.establish(other, callerID+1, callerISN, backendID+1)
	r.send(r.caller, media(backendID, callerISN, 3<<30|1))
	first, second := addrOf(r.caller), addrOf(other)
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), 0)
	for name, c := range map[string]struct {
		want Filter
		get  []netip.AddrPort
	}{
		"all":                {Filter{}, []netip.AddrPort{first, second}},
		"established":        {Filter{State: "established"}, []netip.AddrPort{first, second}},
		"closing":            {Filter{State: "closing"}, nil},
		"no such state":      {Filter{State: "x"}, nil},
		"key":                {Filter{Key: new("__defaultVhost__/live/x")}, []netip.AddrPort{first, second}},
		"other key":          {Filter{Key: new("")}, nil},
		"backend":            {Filter{Backend: "b1"}, []netip.AddrPort{first, second}},
		"other backend":      {Filter{Backend: "b2"}, nil},
		"caller's port":      {Filter{Caller: second}, []netip.AddrPort{second}},
		"caller's host":      {Filter{Caller: mapped}, []netip.AddrPort{first, second}},
		"another host":       {Filter{Caller: netip.MustParseAddrPort("127.0.0.2:0")}, nil},
		"publishers":         {Filter{Role: RolePublisher}, []netip.AddrPort{first, second}},
		"players":            {Filter{Role: RolePlayer}, nil},
		"all that fits both": {Filter{State: "established", Caller: first, Key: new("__defaultVhost__/live/x"), Role: RolePublisher}, []netip.AddrPort{first}},
	} {
		var got []netip.AddrPort
		for _, v := range r.views(c.want) {
			got = append(got, v.Caller)
		}
		slices.SortFunc(got, netip.AddrPort.Compare)
		slices.SortFunc(c.get, netip.AddrPort.Compare)
		if !reflect.DeepEqual(got, c.get) {
			t.Errorf("%s: %v, want %v", name, got, c.get)
		}
	}
}
