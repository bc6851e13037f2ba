package telemetry

import (
	"testing"

	"srtrelay/wire"
)

// conclusion builds a CONCLUSION of extension blocks.
func conclusion(blocks ...[]byte) wire.Handshake {
	h := make([]byte, wire.HandshakeSize)
	wire.PutControl(h, wire.TypeHandshake, 0, 0)
	for _, b := range blocks {
		h = append(h, b...)
	}
	return h
}

func features(t wire.BlockType, version, flags uint32, recv, send uint16) []byte {
	return wire.AppendFeatures(nil, t, wire.Features{Version: version, Flags: flags, RecvDelay: recv, SendDelay: send})
}

// keyMaterial is a message with one key.
func keyMaterial(cipher Cipher, keyLen int) []byte {
	b := make([]byte, 16+16+keyLen+8)
	b[kmCipher], b[14], b[kmKeyLen] = byte(cipher), 4, byte(keyLen/4)
	return b
}

func TestAgree(t *testing.T) {
	group := []byte{0x40, 0, 0, 9, 2, 0, 0, 50}
	for _, c := range []struct {
		name              string
		request, response wire.Handshake
		want              Terms
		names             Names
	}{
		{"HSv4 says nothing", conclusion(), conclusion(), Terms{}, Names{}},
		{
			"plain",
			conclusion(features(wire.BlockHSReq, 0x10501, 0xBF, 80, 90)),
			conclusion(features(wire.BlockHSRsp, 0x10503, 0x9F, 120, 200)),
			Terms{
				CallerVersion: 0x10501, BackendVersion: 0x10503, callerFlags: 0xBF, backendFlags: 0x9F,
				LatencyToBackend: 120, LatencyToCaller: 200,
			},
			Names{},
		},
		{
			"everything",
			conclusion(
				wire.AppendString(nil, wire.BlockSID, "live"),
				wire.AppendString(nil, wire.BlockCongestion, "live"),
				wire.AppendString(nil, wire.BlockFilter, "fec,cols:10"),
				wire.AppendBlock(nil, wire.BlockGroup, group),
				wire.AppendBlock(nil, wire.BlockKMReq, keyMaterial(CipherGCM, 32)),
			),
			conclusion(
				wire.AppendBlock(nil, wire.BlockKMRsp, keyMaterial(CipherGCM, 32)),
				wire.AppendString(nil, wire.BlockFilter, "fec,cols:10,rows:5"),
			),
			Terms{GroupID: 0x40000009, GroupType: 2, Cipher: CipherGCM, KeyLen: 32},
			Names{Filter: "fec,cols:10,rows:5", Congestion: "live"},
		},
		{
			"a key refused", // and the connection goes on without
			conclusion(wire.AppendBlock(nil, wire.BlockKMReq, keyMaterial(CipherCTR, 16))),
			conclusion(wire.AppendBlock(nil, wire.BlockKMRsp, []byte{4, 0, 0, 0})),
			Terms{},
			Names{},
		},
		{
			"blocks cut short",
			conclusion(features(wire.BlockHSReq, 0x10501, 0xBF, 80, 90)[:10]),
			conclusion(wire.AppendBlock(nil, wire.BlockGroup, group[:4]), wire.AppendBlock(nil, wire.BlockKMRsp, keyMaterial(CipherCTR, 16)[:8])),
			Terms{},
			Names{},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Agree(c.request, c.response)
			names := got.Names
			got.Names = nil
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if (names == nil) != (c.names == Names{}) || names != nil && *names != c.names {
				t.Errorf("names %+v, want %+v", names, c.names)
			}
		})
	}
}

// user builds an extension that travels by itself.
func user(subtype uint16, content []byte) wire.Packet {
	return append(controlOf(wire.TypeUser, subtype, 0), content...)
}

func TestTermsThatComeLater(t *testing.T) {
	hs := features(wire.BlockHSReq, 0x10203, 0x2F, 70, 60)[4:]
	r := &rig{m: Begin(firstSeq, &Terms{})}
	var terms Terms
	pass := func(way Way, p wire.Packet, news bool) {
		t.Helper()
		if !r.see(way, p) {
			t.Errorf("%x brings no terms", p)
		}
		if got := terms.Learn(way, p); got != news {
			t.Errorf("%x: news %v, want %v", p, got, news)
		} else if got {
			r.slab.Settle(&r.m, &terms)
		}
	}
	r.data(rexmit, firstSeq)
	pass(ToBackend, user(wire.SubtypeHSReq, hs), true)
	pass(ToCaller, user(wire.SubtypeHSRsp, hs), true)
	pass(ToBackend, user(wire.SubtypeKMReq, keyMaterial(CipherCTR, 24)), true)
	pass(ToCaller, user(wire.SubtypeKMRsp, keyMaterial(CipherCTR, 24)), false)
	pass(ToBackend, user(wire.SubtypeHSReq, hs[:8]), false)
	want := Terms{
		CallerVersion: 0x10203, BackendVersion: 0x10203, callerFlags: 0x2F, backendFlags: 0x2F,
		LatencyToBackend: 70, Cipher: CipherCTR, KeyLen: 24,
	}
	if terms != want {
		t.Errorf("got  %+v\nwant %+v", terms, want)
	}
	r.data(rexmit, firstSeq)
	r.want(t, Counts{Packets: 2, Retransmitted: 1, LostBehind: 1})
	for _, p := range []wire.Packet{user(0, hs), user(5, hs)} {
		if r.see(ToBackend, p) {
			t.Errorf("subtype %d brings terms", p.Subtype())
		}
	}
}
