package telemetry

import (
	"encoding/binary"

	"srtrelay/wire"
)

// Terms are what a handshake has negotiated. Every session keeps them, so they are plain
// values, with the rare strings behind one pointer.
type Terms struct {
	// Names is nil if there are none. The value is immutable.
	Names *Names
	// Versions are 0x00MMmmpp; 0 if the peer did not send its version.
	CallerVersion, BackendVersion uint32
	callerFlags, backendFlags     uint16
	// Latencies of the two receivers, in ms.
	LatencyToBackend, LatencyToCaller uint16
	GroupID                           uint32
	GroupType                         uint8 // 1 broadcast, 2 backup
	Cipher                            Cipher
	KeyLen                            uint8 // bytes
}

// Names are the negotiated strings.
type Names struct{ Filter, Congestion string }

// Cipher is how a session's media is encrypted.
type Cipher uint8

// Ciphers, numbered as in the key material message.
const (
	CipherNone Cipher = 0
	CipherCTR  Cipher = 2
	CipherGCM  Cipher = 4
)

// Agree reads the terms from a caller's CONCLUSION and the response to it.
func Agree(request, response wire.Handshake) Terms {
	var t Terms
	var names Names
	for b := range request.Blocks {
		switch b.Type {
		case wire.BlockHSReq:
			t.setCaller(b)
		case wire.BlockKMReq:
			t.setCipher(b.Content)
		case wire.BlockGroup:
			t.setGroup(b)
		case wire.BlockFilter:
			names.Filter = b.String()
		case wire.BlockCongestion:
			names.Congestion = b.String()
		}
	}
	for b := range response.Blocks {
		switch b.Type {
		case wire.BlockHSRsp:
			t.setBackend(b)
		case wire.BlockKMRsp:
			t.setCipher(b.Content)
		case wire.BlockFilter: // the listener's string is complete
			names.Filter = b.String()
		}
	}
	if names != (Names{}) {
		t.Names = &names
	}
	return t
}

// Learn updates the terms from a control packet, as in HSv4 and at a key refresh. It
// returns true if something changed.
func (t *Terms) Learn(way Way, p wire.Packet) bool {
	old := *t
	b := wire.Block{Content: p[wire.HeaderSize:]}
	switch p.Subtype() {
	case wire.SubtypeHSReq, wire.SubtypeHSRsp:
		// In HSv4 the media's sender asks, which may be either side.
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
			t.setLatencyV4(way, f)
		}
	case wire.SubtypeKMReq, wire.SubtypeKMRsp:
		t.setCipher(b.Content)
	}
	return *t != old
}

// setLatencyV4 reads an HSv4 response, which the media's receiver sends: a response to the
// caller comes from the backend.
func (t *Terms) setLatencyV4(way Way, f wire.Features) {
	if way == ToCaller {
		t.LatencyToBackend = f.RecvDelay
	} else {
		t.LatencyToCaller = f.RecvDelay
	}
}

func (t *Terms) setCaller(b wire.Block) {
	if f, ok := b.Features(); ok {
		t.CallerVersion, t.callerFlags = f.Version, uint16(f.Flags)
	}
}

// setBackend reads the listener's response, whose latencies are final.
func (t *Terms) setBackend(b wire.Block) {
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

// setCipher reads a key material message, or the single word that rejects one.
func (t *Terms) setCipher(b []byte) {
	switch {
	case len(b) >= kmSize:
		t.Cipher, t.KeyLen = Cipher(b[kmCipher]), 4*b[kmKeyLen]
	case len(b) == 4:
		t.Cipher, t.KeyLen = CipherNone, 0
	}
}

func (t *Terms) setGroup(b wire.Block) {
	if id, ok := b.GroupID(); ok && len(b.Content) >= 8 {
		t.GroupID = id
		t.GroupType = uint8(binary.BigEndian.Uint32(b.Content[4:]) >> 24)
	}
}

// rexmit returns by way whether the R bit is in use. The receiver announces it.
func (t *Terms) rexmit() [2]bool {
	return [2]bool{
		ToBackend: t.backendFlags&wire.FlagRexmit != 0,
		ToCaller:  t.callerFlags&wire.FlagRexmit != 0,
	}
}
