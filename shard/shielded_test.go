package shard

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"srtrelay/addr"
	"srtrelay/internal/srttest"
	"srtrelay/observe/capture"
	"srtrelay/shard/shield"
	"srtrelay/wire"
)

// Each verdict has the counter of its name.
func TestShieldCounters(t *testing.T) {
	for v := shield.VerdictKM; v < shield.NumVerdicts; v++ {
		if got, want := dropOf(v).String(), "shield_"+v.String(); got != want || !dropOf(v).IsDrop() {
			t.Errorf("%s is counted as %s", want, got)
		}
	}
}

func shielded(c *Config) { c.Shield = true }

// shieldDrops returns what the shield has dropped, by reason.
func (r *rig) shieldDrops() map[string]uint64 {
	m := map[string]uint64{}
	for v := shield.VerdictKM; v < shield.NumVerdicts; v++ {
		if n := r.count(dropOf(v)); n > 0 {
			m[v.String()] = n
		}
	}
	return m
}

// dataAt is a data packet of a sequence number.
func dataAt(seq, id uint32) []byte {
	b := packet(id, 1332)
	binary.BigEndian.PutUint32(b, seq)
	binary.BigEndian.PutUint32(b[4:], 3<<30|1)
	return b
}

// Both ways, what is malformed is dropped under its name, and what peers send passes as it is.
func TestShield(t *testing.T) {
	r := newRig(t, shielded)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	const next = callerISN + 1
	for name, way := range map[string]struct {
		id   uint32
		send func([]byte)
		end  *net.UDPConn
	}{
		"to the backend": {backendID, func(b []byte) { r.send(r.caller, b) }, r.backend},
		"to the caller":  {callerID, func(b []byte) { r.reply(upstream, b) }, r.caller},
	} {
		way.send(dataAt(callerISN, way.id))
		if b, _ := r.receive(way.end); len(b) != 1332 {
			t.Fatalf("%s: data has not passed", name)
		}
		for _, c := range srttest.MalformedControls(next) {
			before := r.shieldDrops()[c.Kind]
			way.send(c.To(way.id))
			if b := make([]byte, 2048); r.shieldDrops()[c.Kind] != before+1 {
				t.Errorf("%s: %s: drops %v", name, c.Name, r.shieldDrops())
			} else if got, _ := r.receiveNow(way.end, b); got != nil {
				t.Errorf("%s: %s has passed", name, c.Name)
			}
		}
		before := r.shieldDrops()
		for _, c := range srttest.SoundControls(next) {
			if c.Packet.Is(wire.TypeShutdown) || c.Packet.Is(wire.TypeHandshake) && way.id == callerID {
				continue // ends the session; some are the relay's own
			}
			way.send(c.To(way.id))
			if got, _ := r.receive(way.end); !bytes.Equal(got, c.To(way.id)) {
				t.Errorf("%s: %s has not passed: %x", name, c.Name, got)
			}
		}
		if len(before) != int(shield.NumVerdicts)-1 || !equalCounts(before, r.shieldDrops()) {
			t.Errorf("%s: drops %v, before %v", name, r.shieldDrops(), before)
		}
	}
}

func equalCounts(a, b map[string]uint64) bool {
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return len(a) == len(b)
}

// A DROPREQ is compared with the sender's data packets only as long as those are fresh.
func TestShieldComparesWithFreshData(t *testing.T) {
	r := newRig(t, shielded)
	r.establish(r.caller, callerID, callerISN, backendID)
	far := srttest.ControlCase{Packet: srttest.Control(wire.TypeDropReq, 0, callerISN+2*shield.Window, callerISN+2*shield.Window)}.To(backendID)
	pass := func(want bool) {
		t.Helper()
		r.send(r.caller, far)
		if b, _ := r.receive(r.backend); (b != nil) != want {
			t.Errorf("passed: %v", b != nil)
		}
	}
	pass(true) // no data yet
	r.send(r.caller, dataAt(callerISN, backendID))
	r.receive(r.backend)
	pass(false)
	r.pass(freshFor)
	pass(true)
}

// The shield is turned off and on while sessions run.
func TestShieldChanges(t *testing.T) {
	r := newRig(t, shielded)
	r.establish(r.caller, callerID, callerISN, backendID)
	bad := srttest.ControlCase{Packet: srttest.ControlOf(wire.TypeUser, wire.SubtypeKMReq, 1352)}.To(backendID)
	l := r.limits
	for _, on := range []bool{true, false, true} {
		l.Shield = on
		r.setLimits(l)
		r.send(r.caller, bad)
		if b, _ := r.receive(r.backend); (b == nil) != on {
			t.Errorf("shield %v: passed %v", on, b != nil)
		}
	}
	if r.count(DropShieldKM) != 2 {
		t.Errorf("counters %v", r.nonzero())
	}
}

// A capture shows what the shield has dropped.
func TestShieldedIsCaptured(t *testing.T) {
	r := newRig(t, shielded)
	c := r.capture(capture.Filter{Streams: []string{"__defaultVhost__/live/x"}}, capture.Keep{})
	r.establish(r.caller, callerID, callerISN, backendID)
	bad := srttest.ControlCase{Packet: srttest.Control(wire.TypeNAK, 0, 1<<31)}.To(backendID)
	r.send(r.caller, bad)
	r.expectNothing(r.backend)
	for _, rec := range r.records(c) {
		if bytes.Equal(rec.Data, bad) && rec.How == capture.ToBackend|capture.Received {
			return
		}
	}
	t.Error("the capture does not have it")
}

// withKM appends a block of key material of so many bytes to a handshake.
func withKM(h wire.Handshake, t wire.BlockType, n int) []byte {
	h.SetExtension(h.Extension() | wire.FlagKMReq)
	return wire.AppendBlock(h, t, make([]byte, n))
}

// The handshake that opens a session is checked too: libsrt copies a key that is too long
// before it looks whether the caller knows the passphrase.
func TestShieldOfHandshakes(t *testing.T) {
	r := newRig(t, shielded)
	cookie := r.cookie(r.caller, callerID)
	r.send(r.caller, withKM(conclusion(callerID, callerISN, cookie, 500), wire.BlockKMReq, 108))
	r.expectNothing(r.caller)
	r.expectNothing(r.backend)
	if r.sessions.live != 0 || r.count(DropShieldHandshake) != 1 {
		t.Errorf("%d sessions, counters %v", r.sessions.live, r.nonzero())
	}
	r.send(r.caller, withKM(conclusion(callerID, callerISN, cookie, 500), wire.BlockKMReq, 104))
	h, upstream := r.answerInduction()
	r.reply(upstream, withKM(accept(h, backendID), wire.BlockKMRsp, 108))
	r.expectNothing(r.caller)
	if r.count(DropShieldHandshake) != 2 || r.count(CountEstablished) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.reply(upstream, withKM(accept(h, backendID), wire.BlockKMRsp, 104))
	r.expect(r.caller, wire.HandshakeConclusion)
}

// The check of a control packet allocates nothing, whatever the verdict.
func TestShieldDoesNotAllocate(t *testing.T) {
	r := newRig(t, shielded)
	r.establish(r.caller, callerID, callerISN, backendID)
	from := addr.From(addrOf(r.caller))
	i, ss := r.sessions.byCaller(0, &from, callerID)
	all := append(srttest.MalformedControls(callerISN), srttest.SoundControls(callerISN)...)
	if n := testing.AllocsPerRun(100, func() {
		for k := range all {
			r.failsShield(i, ss, 0, all[k].Packet)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
