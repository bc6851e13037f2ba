package shard

import (
	"net/netip"
	"strings"
	"testing"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// A 257th listen address used to share the index of the first: its callers were
// answered from the wrong socket.
func TestMoreSocketsThanIndexesRefused(t *testing.T) {
	many := make([]netip.AddrPort, endpointLimit+1)
	for i := range many {
		many[i] = netip.MustParseAddrPort("127.0.0.1:0")
	}
	for want, cfg := range map[string]Config{
		"at most 256 listen addresses, not 257":                 {Listen: many},
		"at most 128 upstream ports, not 129":                   {UpstreamPorts: endpointLimit/2 + 1},
		"at most 1073741824 sessions per shard, not 1073741825": {MaxSessions: indexLimit + 1},
	} {
		if g, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if g != nil {
				g.Close()
			}
		}
	}
	if err := (&Config{Listen: many[1:], UpstreamPorts: endpointLimit / 2, MaxSessions: indexLimit}).checkIndexes(); err != nil {
		t.Error(err)
	}
}

// A 65,537th backend with sessions used to share a slot with the first, so that
// one's bytes were counted for the other, or for none that is left.
func TestMoreBackendsThanSlotsRefused(t *testing.T) {
	r := newRig(t)
	for i := range slotLimit {
		a := addr.From(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1))
		p := &peer{addr: a, slot: uint16(i)}
		r.peers.byAddr[a], r.peers.slots = p, append(r.peers.slots, p)
	}
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 500))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeOverload))
	// One with sessions already takes more of them.
	first := r.peers.slots[0]
	if !r.peers.hasRoom(first.addr) {
		t.Error("a backend with a slot has none")
	}
}
