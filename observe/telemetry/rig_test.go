package telemetry

import (
	"encoding/binary"
	"testing"
	"time"

	"srtrelay/wire"
)

// rig is one session's meter and the clock of its relay.
type rig struct {
	slab Slab
	m    Meter
	now  time.Duration
}

// firstSeq is the rig's ISN.
const firstSeq = 1000

func newRig(isn uint32) *rig {
	return &rig{m: Begin(isn, rexmitTerms()), now: time.Second}
}

// rexmitTerms are those of two peers that know the R bit.
func rexmitTerms() *Terms {
	return &Terms{callerFlags: 0xBF, backendFlags: 0xBF}
}

// Message words of solo packets.
const (
	plain  = 3<<30 | 1
	rexmit = plain | wire.RexmitBit
	even   = plain | 1<<wire.KeyShift
	odd    = plain | 2<<wire.KeyShift
	filter = 3 << 30
)

// packetOf builds a data packet of 1316 bytes of media.
func packetOf(seq, word uint32) wire.Packet {
	b := make([]byte, wire.HeaderSize+1316)
	binary.BigEndian.PutUint32(b, seq&wire.SequenceMask)
	binary.BigEndian.PutUint32(b[4:], word)
	return b
}

// controlOf builds a control packet.
func controlOf(t wire.ControlType, subtype uint16, number uint32, words ...uint32) wire.Packet {
	b := make([]byte, wire.HeaderSize)
	wire.PutControl(b, t, 0, 0)
	binary.BigEndian.PutUint16(b[2:], subtype)
	binary.BigEndian.PutUint32(b[4:], number)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

func fullACK(number uint32) wire.Packet {
	return controlOf(wire.TypeACK, 0, number, 1, 40_000, 5_000, 8000, 190, 1900, 250_000)
}

// data passes packets to the backend, one each millisecond.
func (r *rig) data(word uint32, seqs ...uint32) {
	for _, seq := range seqs {
		r.now += time.Millisecond
		r.slab.Observe(&r.m, ToBackend, r.now, packetOf(seq, word))
	}
}

func (r *rig) see(way Way, p wire.Packet) bool { return r.slab.Observe(&r.m, way, r.now, p) }

func (r *rig) quality() Quality { return r.slab.Report(&r.m)[ToBackend] }

// counts are the quality of the way to the backend without its sizes.
func (r *rig) counts() Counts {
	c := r.quality().Counts
	c.Bytes = 0
	return c
}

func (r *rig) want(t *testing.T, want Counts) {
	t.Helper()
	if got := r.counts(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// inUse returns how many records are in use.
func (s *Slab) inUse() int { return len(s.chunks)<<chunkBits - len(s.free) }
