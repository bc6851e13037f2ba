package shard

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

// capture starts a capture on the rig's shard, as Group.Capture does.
func (r *rig) capture(f capture.Filter, k capture.Keep) *capture.Capture {
	r.t.Helper()
	c := capture.New(f, k, 1)
	place, err := r.startCapture(c.Tap(0), f)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(f.Streams) > 0 {
		for next := r.markCapture(place, c.Tap(0), 0); next != 0; {
			next = r.markCapture(place, c.Tap(0), next)
		}
	}
	return c
}

// sessionID names the only session of a caller's socket ID.
func (r *rig) sessionID(callerID uint32) capture.Session {
	r.t.Helper()
	found := capture.Session{}
	r.sessions.each(func(i uint32, ss *session) {
		if ss.callerID == callerID && ss.state == StateEstablished {
			found = capture.Session{Index: i, Gen: ss.gen}
		}
	})
	if found.Gen == 0 {
		r.t.Fatalf("no established session of %x", callerID)
	}
	return found
}

// seen is what a test looks at of a record.
type seen struct {
	how  capture.How
	kind wire.ControlType // of a control packet
	data bool
	dest uint32
}

func (r *rig) records(c *capture.Capture) []capture.Record {
	var all []capture.Record
	var rec capture.Record
	for c.Next(&rec) {
		rec.Data = bytes.Clone(rec.Data)
		all = append(all, rec)
	}
	return all
}

func look(recs []capture.Record) (all []seen) {
	for _, rec := range recs {
		p := wire.Packet(rec.Data)
		one := seen{how: rec.How, data: !p.IsControl(), dest: p.DestID()}
		if p.IsControl() {
			one.kind = p.Control()
		}
		all = append(all, one)
	}
	return all
}

const (
	toBackend = capture.ToBackend
	toCaller  = capture.ToCaller
	received  = capture.Received
	sent      = capture.Sent
)

// handshakeSeen is what a capture shows of a handshake that succeeds.
func handshakeSeen(id uint32) []seen {
	return []seen{
		{how: toBackend | received},          // the caller's CONCLUSION
		{how: toBackend | sent},              // the relay's INDUCTION
		{how: toCaller | received, dest: id}, // its answer
		{how: toBackend | sent},              // the CONCLUSION as the backend gets it
		{how: toCaller | received, dest: id}, // the response
		{how: toCaller | sent, dest: id},     // as the caller gets it
	}
}

// A session that begins while its stream is captured is shown from its
// CONCLUSION on, with both legs' own addresses, until the SHUTDOWN.
func TestCaptureOfStreamFromHandshakeOn(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	for _, p := range r.peers.byAddr {
		p.cookies = nil // the backend leg shall be seen whole
	}
	key := r.balancer.asked[0].Key
	c := r.capture(capture.Filter{Streams: []string{"another", key}}, capture.Keep{})

	other := r.dialFront()
	upstream := r.establish(other, 0x3333, 7, 0x4444)
	r.send(other, packet(0x4444, 1332))
	r.reply(upstream, packet(0x3333, 200))
	r.send(other, wire.AppendShutdown(nil, 0, 0x4444))
	recs := r.records(c)
	want := append(handshakeSeen(0x3333),
		seen{how: toBackend | received | sent, data: true, dest: 0x4444},
		seen{how: toCaller | received | sent, data: true, dest: 0x3333},
		seen{how: toBackend | received | sent, kind: wire.TypeShutdown, dest: 0x4444},
	)
	if got := look(recs); !slices.Equal(got, want) {
		t.Fatalf("recorded\n%+v, want\n%+v", got, want)
	}
	asked, _ := wire.AsHandshake(recs[0].Data)
	told, _ := wire.AsHandshake(recs[3].Data)
	if asked.Cookie() == told.Cookie() || told.Cookie() != 0xC0FFEE {
		t.Errorf("cookies %x and %x: each leg has its own", asked.Cookie(), told.Cookie())
	}
	if sid := slices.IndexFunc(slices.Collect(asked.Blocks), func(b wire.Block) bool { return b.String() == "#!::r=live/x,m=publish" }); sid < 0 {
		t.Error("the stream ID is not in the CONCLUSION")
	}
	if data := recs[6]; len(data.Data) != wire.HeaderSize || data.Length != 1332 {
		t.Errorf("%d of %d bytes of a data packet kept, want its header", len(data.Data), data.Length)
	}
	for i, rec := range recs {
		e := capture.Ends{
			Caller: fromConn(other), Front: addr.From(r.front),
			Upstream: addr.AddrPort{Port: upstream.Port()}, Backend: fromConn(r.backend),
		}
		if i == 0 { // there is no backend yet
			e.Upstream, e.Backend = addr.AddrPort{}, addr.AddrPort{}
		}
		if rec.Ends != e {
			t.Errorf("record %d is between %+v, want %+v", i, rec.Ends, e)
		}
		if rec.At > r.now || r.now-rec.At > time.Minute {
			t.Errorf("record %d at %v, now is %v", i, rec.At, r.now)
		}
	}

	// The session that was there before is of the stream too.
	r.send(r.caller, packet(backendID, 100))
	if got := look(r.records(c)); !slices.Equal(got, []seen{{how: toBackend | received | sent, data: true, dest: backendID}}) {
		t.Errorf("of the older session recorded %+v", got)
	}
	r.pass(time.Minute)
	if c.Ended() {
		t.Error("the capture of a stream ended with its sessions")
	}
}

// On a wildcard listener a session has the address that its caller dialled.
func TestCaptureOnWildcard(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")} })
	caller, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 7, 7, 7), Port: int(r.front.Port())})
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	c := r.capture(capture.Filter{Streams: []string{streamKey(t)}}, capture.Keep{})
	r.establish(caller, callerID, callerISN, backendID)
	for _, rec := range r.records(c) {
		if got := rec.Ends.Front.Netip(); got.String() != netip.AddrPortFrom(netip.MustParseAddr("127.7.7.7"), r.front.Port()).String() {
			t.Errorf("front %v, want the address dialled", got)
		}
	}
}

// streamKey is the key of the stream that the rig's callers want.
func streamKey(t *testing.T) string {
	t.Helper()
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	return r.balancer.asked[0].Key
}

// A caller that is refused is captured too: that is when one looks.
func TestCaptureOfRejection(t *testing.T) {
	key := streamKey(t)
	r := newRig(t)
	r.balancer.err = backend.ErrNoStream
	c := r.capture(capture.Filter{Streams: []string{key}}, capture.Keep{})
	cookie := r.cookie(r.caller, callerID)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 500))
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 250_500))
	recs := r.records(c)
	want := []seen{
		{how: toBackend | received},
		{how: toCaller | sent, dest: callerID},
		{how: toBackend | received},
		{how: toCaller | sent, dest: callerID},
	}
	if got := look(recs); !slices.Equal(got, want) {
		t.Fatalf("recorded %+v, want %+v", got, want)
	}
	if h, _ := wire.AsHandshake(recs[1].Data); !h.Type().IsRejection() {
		t.Errorf("type %d, want a rejection", h.Type())
	}
}

// Only what is named is recorded, and the capture ends when that is gone for
// good: what comes late, and the relay's own SHUTDOWNs, are part of it.
func TestCaptureOfOneSession(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	other := r.dialFront()
	r.establish(other, 0x3333, 7, 0x4444)
	id := r.sessionID(callerID)
	c := r.capture(capture.Filter{Sessions: []capture.Session{id, id}}, capture.Keep{Payload: true})

	up := packet(backendID, 1332)
	up[1331] = 0x77
	r.send(other, packet(0x4444, 100))
	r.send(r.caller, up)
	r.endSession(id.Index, r.sessions.at(id.Index), CauseStopped)
	r.settle()
	r.pass(time.Second)
	r.send(r.caller, up)
	recs := r.records(c)
	want := []seen{
		{how: toBackend | received | sent, data: true, dest: backendID},
		{how: toCaller | sent, kind: wire.TypeShutdown, dest: callerID},
		{how: toBackend | sent, kind: wire.TypeShutdown, dest: backendID},
		{how: toBackend | received, data: true, dest: backendID},
		{how: toCaller | sent, kind: wire.TypeShutdown, dest: callerID},
	}
	if got := look(recs); !slices.Equal(got, want) {
		t.Fatalf("recorded %+v, want %+v", got, want)
	}
	if !bytes.Equal(recs[0].Data, up) {
		t.Error("the payload is not what was sent")
	}
	if c.Ended() {
		t.Error("ended with a tombstone left")
	}
	r.pass(tombstoneTTL)
	if !c.Ended() || r.captures.inUse != 0 {
		t.Errorf("ended %v, %d places in use", c.Ended(), r.captures.inUse)
	}
	r.send(other, packet(0x4444, 100))
	if got := r.records(c); len(got) != 0 {
		t.Errorf("recorded %+v after the end", look(got))
	}
}

func TestCaptureOfNobody(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	id := r.sessionID(callerID)
	for _, wrong := range []capture.Session{
		{Index: id.Index, Gen: id.Gen + 1}, {Index: id.Index + 1, Gen: id.Gen}, {Index: 1 << 29, Gen: id.Gen}, {},
	} {
		f := capture.Filter{Sessions: []capture.Session{wrong, id}}
		c := capture.New(f, capture.Keep{}, 1)
		if _, err := r.startCapture(c.Tap(0), f); !errors.Is(err, ErrNoSession) {
			t.Errorf("session %+v: %v", wrong, err)
		}
		place, found := r.captures.stop(c.Tap(0))
		if !found {
			t.Fatal("what failed cannot be stopped")
		}
		r.unmarkCapture(place, 0)
		if ss := r.sessions.at(id.Index); ss.captures != 0 || r.captures.inUse != 0 {
			t.Errorf("left: mark %b, %d places", ss.captures, r.captures.inUse)
		}
	}
}

// Captures do not know each other: one stops, the other goes on; a place is
// used again, and there are no more than there are bits.
func TestSeveralCaptures(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	f := capture.Filter{Streams: []string{r.balancer.asked[0].Key}}
	var all []*capture.Capture
	for range maxCaptures {
		all = append(all, r.capture(f, capture.Keep{}))
	}
	extra := capture.New(f, capture.Keep{}, 1)
	if _, err := r.startCapture(extra.Tap(0), f); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	count := func() (n []int) {
		r.send(r.caller, packet(backendID, 100))
		for _, c := range all {
			n = append(n, len(r.records(c)))
		}
		return n
	}
	if got := count(); !slices.Equal(got, []int{1, 1, 1, 1, 1, 1, 1, 1}) {
		t.Errorf("records %v", got)
	}
	place, _ := r.captures.stop(all[3].Tap(0))
	if got := count(); !slices.Equal(got, []int{1, 1, 1, 0, 1, 1, 1, 1}) {
		t.Errorf("records %v with the fourth stopped", got)
	}
	if _, err := r.startCapture(extra.Tap(0), f); !errors.Is(err, ErrBusy) {
		t.Errorf("a place that is not wiped was given away: %v", err)
	}
	if _, found := r.captures.stop(all[3].Tap(0)); found {
		t.Error("stopped twice")
	}
	if next := r.unmarkCapture(place, 0); next != 0 {
		t.Errorf("goes on at %d", next)
	}
	// In the same place, and wanting something else.
	all[3] = r.capture(capture.Filter{Streams: []string{"another"}}, capture.Keep{})
	if got := count(); !slices.Equal(got, []int{1, 1, 1, 0, 1, 1, 1, 1}) {
		t.Errorf("records %v with another fourth", got)
	}
}

// Marking and wiping take as many tasks as there are slices of sessions.
func TestCaptureMarksInSlices(t *testing.T) {
	r := newRig(t)
	const chunks = 2*captureChunks + 1
	for range chunks {
		r.sessions.extend()
	}
	var marked []*session
	for i := range uint32(chunks * chunkSize) {
		if i%1000 == 0 {
			ss := r.sessions.at(i)
			ss.state = StateEstablished
			r.sessions.cold(i).setNames("x", 1)
			marked = append(marked, ss)
		}
	}
	f := capture.Filter{Streams: []string{"x"}}
	c := capture.New(f, capture.Keep{}, 1)
	place, err := r.startCapture(c.Tap(0), f)
	if err != nil {
		t.Fatal(err)
	}
	steps := func(one func(next int) int) (n int) {
		for next := 0; n == 0 || next != 0; n++ {
			next = one(next)
		}
		return n
	}
	if n := steps(func(next int) int { return r.markCapture(place, c.Tap(0), next) }); n != 3 {
		t.Errorf("marked in %d steps, want 3", n)
	}
	for i, ss := range marked {
		if ss.captures != 1 {
			t.Fatalf("session %d is not marked", i)
		}
	}
	r.captures.stop(c.Tap(0))
	if n := steps(func(next int) int { return r.unmarkCapture(place, next) }); n != 3 || r.captures.inUse != 0 {
		t.Errorf("wiped in %d steps, want 3; %d places in use", n, r.captures.inUse)
	}
	for i, ss := range marked {
		if ss.captures != 0 {
			t.Fatalf("session %d is still marked", i)
		}
		ss.state = StateFree
	}
}

// A reader that never comes costs datagrams of the capture, none of the
// session, and no memory.
func TestStalledCaptureCostsNothing(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	c := r.capture(capture.Filter{Sessions: []capture.Session{r.sessionID(callerID)}}, capture.Keep{Payload: true})
	up, in := packet(backendID, 1332), make([]byte, 2048)
	before, total := r.count(CountForwardedToBackend), uint64(0)
	round := func() {
		for range 16 {
			must(t, r.caller, up)
		}
		total += 16
		r.settle()
		for range 16 {
			if _, _, err := r.backend.ReadFromUDPAddrPort(in); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations per turn with room in the ring", n)
	}
	for full := uint64(0); full == 0; full, _ = c.Dropped(capture.LegCallers) {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations per turn with a full ring", n)
	}
	if n := r.count(CountForwardedToBackend) - before; n != total {
		t.Errorf("forwarded %d of %d", n, total)
	}
	full, limited := c.Dropped(capture.LegBackends)
	if kept := uint64(len(r.records(c))); kept+full != total || limited != 0 {
		t.Errorf("%d kept and %d dropped of %d", kept, full, total)
	}
}
