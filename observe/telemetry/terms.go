package telemetry

import (
	"encoding/binary"

	"srtrelay/wire"
)

// Terms are what a handshake settled. They are kept for every session, idle
// ones too: plain values, and the rare strings behind one pointer.
type Terms struct {
	// Names is nil for a session that has none. It is never changed.
	Names *Names
	// Versions are 0x00MMmmpp, 0 for a peer that did not tell.
	CallerVersion, BackendVersion uint32
	callerFlags, backendFlags     uint16
	// Latencies of the two receivers, in ms.
	LatencyToBackend, LatencyToCaller uint16
	GroupID                           uint32
	GroupType                         uint8 // 1 broadcast, 2 backup
	Cipher                            Cipher
	KeyLen                            uint8 // bytes
}

// Names are what a handshake settled in words.
type Names struct{ Filter, Congestion string }

// Cipher is how a session's media is encrypted.
type Cipher uint8

// Ciphers, numbered as in the key material message.
const (
	CipherNone Cipher = 0
	CipherCTR  Cipher = 2
	CipherGCM  Cipher = 4
)

// Agree reads the terms off a caller's CONCLUSION and the response to it.
func Agree(request, response wire.Handshake) Terms {
	var t Terms
	var names Names
	for b := range request.Blocks {
		switch b.Type {
		case wire.BlockHSReq:
			t.asked(b)
		case wire.BlockKMReq:
			t.keys(b.Content)
		case wire.BlockGroup:
			t.group(b)
		case wire.BlockFilter:
			names.Filter = b.String()
		case wire.BlockCongestion:
			names.Congestion = b.String()
		}
	}
	for b := range response.Blocks {
		switch b.Type {
		case wire.BlockHSRsp:
			t.answered(b)
		case wire.BlockKMRsp:
			t.keys(b.Content)
		case wire.BlockFilter: // the listener completes what the caller left open
			names.Filter = b.String()
		}
	}
	if names != (Names{}) {
		t.Names = &names
	}
	return t
}

// Learn takes terms that travel by themselves, as in HSv4 and when keys are
// refreshed. True says that there was something to learn.
func (t *Terms) Learn(way Way, p wire.Packet) bool {
	old := *t
	b := wire.Block{Content: p[wire.HeaderSize:]}
	switch p.Subtype() {
	case wire.SubtypeHSReq, wire.SubtypeHSRsp:
		// HSv4's sender asks, whoever that is.
		f, ok := b.Features()
		if !ok {
			return false
		}
		if way == ToBackend {
			t.CallerVersion, t.callerFlags = f.Version, uint16(f.Flags)
		} else {
			t.BackendVersion, t.backendFlags = f.Version, uint16(f.Flags)
		}
		if p.Subtype() == wire.SubtypeHSRsp {
			t.latencyV4(way, f)
		}
	case wire.SubtypeKMReq, wire.SubtypeKMRsp:
		t.keys(b.Content)
	}
	return *t != old
}

// latencyV4 takes an HSv4 response, which the receiver of the one-way stream
// sends: it came from the backend if it goes to the caller.
func (t *Terms) latencyV4(way Way, f wire.Features) {
	if way == ToCaller {
		t.LatencyToBackend = f.RecvDelay
	} else {
		t.LatencyToCaller = f.RecvDelay
	}
}

func (t *Terms) asked(b wire.Block) {
	if f, ok := b.Features(); ok {
		t.CallerVersion, t.callerFlags = f.Version, uint16(f.Flags)
	}
}

// answered takes the listener's word on both latencies, which is final.
func (t *Terms) answered(b wire.Block) {
	if f, ok := b.Features(); ok {
		t.BackendVersion, t.backendFlags = f.Version, uint16(f.Flags)
		t.LatencyToBackend, t.LatencyToCaller = f.RecvDelay, f.SendDelay
	}
}

// Offsets in a key material message (draft section 3.2.2).
const (
	kmCipher = 8
	kmKeyLen = 15 // in units of 4 bytes
	kmSize   = 16
)

// keys takes a key material message, or the one word that refuses one.
func (t *Terms) keys(b []byte) {
	switch {
	case len(b) >= kmSize:
		t.Cipher, t.KeyLen = Cipher(b[kmCipher]), 4*b[kmKeyLen]
	case len(b) == 4:
		t.Cipher, t.KeyLen = CipherNone, 0
	}
}

func (t *Terms) group(b wire.Block) {
	if id, ok := b.GroupID(); ok && len(b.Content) >= 8 {
		t.GroupID = id
		t.GroupType = uint8(binary.BigEndian.Uint32(b.Content[4:]) >> 24)
	}
}

// rexmit says by way whether the R bit is in use: the receiver announces that
// it understands it.
func (t *Terms) rexmit() [2]bool {
	return [2]bool{
		ToBackend: t.backendFlags&wire.FlagRexmit != 0,
		ToCaller:  t.callerFlags&wire.FlagRexmit != 0,
	}
}
