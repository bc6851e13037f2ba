package shard

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"srtrelay/addr"
	"srtrelay/internal/message"
)

// wantRefused checks that a shard does not go on with a snapshot, and that nothing of it
// is left that the shard's end could tell anybody about.
func (r *rig) wantRefused(name string, snapshot []byte, why string) {
	r.t.Helper()
	next := r.successor()
	err := next.restore(snapshot)
	if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
		r.t.Errorf("%s: %v, want %q", name, err, why)
	}
	if next.sessions.live != 0 || next.sessions.places() != 0 || next.wheel.pending != 0 || len(next.peers.byAddr) != 0 {
		r.t.Errorf("%s: something is left", name)
	}
	next.finish()
	if n := next.counters.local[CountSent]; n != 0 {
		r.t.Errorf("%s: %d datagrams were sent", name, n)
	}
}

func TestDamagedSnapshots(t *testing.T) {
	r := everyState(t)
	b := r.appendSnapshot(nil)
	for _, n := range []int{0, 1, 2, 12, 13, len(b) / 2, len(b) - 14, len(b) - 1} {
		r.wantRefused("truncated", b[:n], "truncated")
	}
	for k := 0; k < len(b); k += 1 + len(b)/200 {
		flipped := slices.Clone(b)
		flipped[k] ^= 1 << (k % 8)
		r.wantRefused("a bit is flipped", flipped, "damaged")
	}
	r.wantRefused("a byte more", append(slices.Clone(b), 0), "damaged")
	r.expectNothing(r.caller)
}

// edit returns a snapshot whose fields are what fn makes of them, with a right checksum.
func edit(b []byte, sessions int, fn func(m *message.Reader, field []byte) []byte) []byte {
	messages, records, err := message.Unseal(b)
	if err != nil {
		panic(err)
	}
	var out []byte
	m := message.Read(messages)
	rest := messages
	for m.Next() {
		_, _, n := protowire.ConsumeField(rest)
		field := rest[:n]
		rest = rest[n:]
		out = append(out, fn(&m, field)...)
	}
	return message.Seal(out, 0, uint32(int(records)+sessions))
}

// What the checksum does not find is found as well.
func TestImpossibleSnapshots(t *testing.T) {
	r := everyState(t)
	b := r.appendSnapshot(nil)
	drop := func(n message.Number) []byte { return edit(b, 0, replace(n, nil)) }
	// set appends a field to the messages of a number, which overrides an earlier one.
	set := func(n message.Number, extra []byte) []byte {
		return edit(b, 0, func(m *message.Reader, field []byte) []byte {
			if m.Number() != n {
				return field
			}
			out, mark := message.Open(nil, n)
			return message.Close(append(append(out, m.Bytes()...), extra...), mark)
		})
	}
	var address [addr.MaxBinary]byte
	for name, c := range map[string]struct {
		snapshot []byte
		why      string
	}{
		"no version":             {drop(snapshotVersion), "no version"},
		"no head":                {drop(snapshotHead), "before the head"},
		"no sessions":            {edit(b, -r.sessions.live, replace(snapshotSession, nil)), "has no sessions"},
		"no listeners":           {drop(snapshotFront), "listener 1 is not open"},
		"a session too few":      {edit(b, 1, func(_ *message.Reader, field []byte) []byte { return field }), "sessions of"},
		"no peers":               {drop(snapshotPeer), "peer 1"},
		"another version":        {edit(b, 0, replace(snapshotVersion, message.AppendUint(nil, snapshotVersion, uint32(2)))), "version 2; this program reads 1 to 1"},
		"another shard":          {set(snapshotHead, message.AppendUint(nil, headShard, uint32(3))), "the snapshot of shard 3"},
		"a billion places":       {set(snapshotHead, message.AppendUint(nil, headPlaces, uint32(1e9))), "sessions up to place"},
		"a place too far":        {set(snapshotSession, message.AppendUint(nil, sessionIndex, uint32(5000))), "beyond the last"},
		"the same place":         {set(snapshotSession, message.AppendUint(nil, sessionIndex, uint32(1))), "another one is in its place"},
		"a state too many":       {set(snapshotSession, message.AppendUint(nil, sessionState, uint8(6))), "state unknown"},
		"another state":          {set(snapshotSession, message.AppendUint(nil, sessionState, uint8(StateResolving))), "pending handshake"},
		"a peer too many":        {set(snapshotSession, message.AppendUint(nil, sessionPeer, uint32(9))), "peer 9"},
		"no upstream socket":     {set(snapshotSession, message.AppendUint(nil, sessionUpstream, uint8(9))), "upstream socket 9"},
		"a listener too many":    {set(snapshotSession, message.AppendUint(nil, sessionFront, uint8(7))), "listener 7"},
		"no caller":              {set(snapshotSession, message.AppendBytes(nil, sessionCaller, "abc")), "no address"},
		"no CONCLUSION":          {edit(b, 0, withoutConclusion), "no CONCLUSION"},
		"no answer":              {set(snapshotSession, message.AppendBytes(nil, sessionReplay, "\x0a\x01x")), "no answer"},
		"peers not in order":     {set(snapshotPeer, message.AppendUint(nil, peerNumber, uint32(5))), "not in order"},
		"another upstream":       {set(snapshotUpstream, message.AppendBytes(nil, socketAddress, addr.From(r.front).Append(address[:0]))), "is at"},
		"a time in a millennium": {set(snapshotHead, message.AppendFixed64(nil, headTaken, 1<<62)), "impossible time"},
	} {
		r.wantRefused(name, c.snapshot, c.why)
	}
	// What another version may have is skipped, wherever it is.
	later := message.AppendBytes(message.AppendFixed32(nil, 900, 1), 901, "later")
	for _, n := range []message.Number{snapshotHead, snapshotSession, snapshotPeer, snapshotCounter, snapshotOrphan} {
		if err := r.successor().restore(set(n, later)); err != nil {
			t.Errorf("with fields of a later version in field %d: %v", n, err)
		}
	}
}

// replace returns a function that replaces the fields of a number.
func replace(n message.Number, by []byte) func(*message.Reader, []byte) []byte {
	return func(m *message.Reader, field []byte) []byte {
		if m.Number() == n {
			return by
		}
		return field
	}
}

// withoutConclusion takes the CONCLUSION from a pending handshake.
func withoutConclusion(m *message.Reader, field []byte) []byte {
	if m.Number() != snapshotSession {
		return field
	}
	for inner := message.Read(m.Bytes()); inner.Next(); {
		if inner.Number() == sessionPending {
			b, mark := message.Open(nil, snapshotSession)
			b, pending := message.Open(append(b, m.Bytes()...), sessionPending)
			b, leg := message.Open(b, pendingLeg)
			return message.Close(message.Close(message.Close(b, leg), pending), mark)
		}
	}
	return field
}

func TestRestoreIntoAShardWithSessions(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	if err := r.restore(r.appendSnapshot(nil)); err == nil || r.sessions.live != 1 {
		t.Errorf("%v, %d sessions", err, r.sessions.live)
	}
}

// FuzzRestore: whatever the file is, a shard restores it or refuses it, with memory in
// proportion.
func FuzzRestore(f *testing.F) {
	r := everyState(f)
	b := r.appendSnapshot(nil)
	messages, _, err := message.Unseal(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(messages)
	for _, change := range [][]byte{
		message.AppendUint(nil, headPlaces, uint32(1<<14)),
		message.AppendUint(nil, headGeneration, uint32(1<<31)),
	} {
		f.Add(edit(b, 0, func(m *message.Reader, field []byte) []byte {
			if m.Number() != snapshotHead {
				return field
			}
			out, mark := message.Open(nil, snapshotHead)
			return message.Close(append(append(out, m.Bytes()...), change...), mark)
		}))
	}
	f.Fuzz(func(t *testing.T, messages []byte) {
		r.t = t
		next := r.successor()
		// Also with a right checksum, and as many sessions as it has.
		sessions := uint32(0)
		for m := message.Read(messages); m.Next(); {
			if m.Number() == snapshotSession {
				sessions++
			}
		}
		err := next.restore(message.Seal(messages, 0, sessions))
		if err != nil {
			if next.sessions.live != 0 {
				t.Error("something is left")
			}
			return
		}
		if err := r.successor().restore(next.appendSnapshot(nil)); err != nil && !errors.Is(err, message.ErrDamaged) {
			t.Errorf("what was restored cannot be restored again: %v", err)
		}
	})
}
