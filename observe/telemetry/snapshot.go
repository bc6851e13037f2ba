package telemetry

import (
	"encoding/binary"
	"math/bits"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

// What another process needs to go on with a meter, as messages. A field is never
// renumbered; shard/testdata has a snapshot of each version.

// Fields of a Meter: a record for each way that has one. The rest of it follows from the
// session and its terms (Begin).
const (
	meterToBackend message.Number = 1
	meterToCaller  message.Number = 2
	meterSkipped   message.Number = 3 // unknownStart
)

var meterWays = [...]message.Number{ToBackend: meterToBackend, ToCaller: meterToCaller}

// AppendSnapshot appends a meter; nothing, if it has no records. In a gap the meter is
// skipped: the gap may end in the other process.
func (s *Slab) AppendSnapshot(b []byte, m *Meter, now time.Duration, c message.Clock) []byte {
	if s.paused {
		s.Skip(m)
	}
	b = message.AppendBool(b, meterSkipped, m.isn&unknownStart != 0)
	for way, place := range m.place {
		if place != 0 {
			var mark int
			b, mark = message.Open(b, meterWays[way])
			b = message.Close(s.at(place).appendSnapshot(b, now, c), mark)
		}
	}
	return b
}

// Restore reads what AppendSnapshot has appended into a meter that has begun. now is
// the time of the snapshot.
func (s *Slab) Restore(m *Meter, b []byte, now time.Duration, c message.Clock) error {
	r := message.Read(b)
	for r.Next() {
		if r.Number() == meterSkipped && r.Bool() {
			m.isn |= unknownStart
			continue
		}
		for way, number := range meterWays {
			if r.Number() != number {
				continue
			}
			if m.place[way] == 0 {
				s.allocate(m, Way(way))
				s.at(m.place[way]).expect = 0 // unless a field says otherwise
			}
			r.Fail(s.at(m.place[way]).restore(r.Bytes(), now, c))
		}
	}
	return r.Err()
}

// Fields of a record. Those that every record has come first: numbers up to 15 take one
// byte.
const (
	recordLast          message.Number = 1
	recordNext          message.Number = 2
	recordExpect        message.Number = 3
	recordPackets       message.Number = 4
	recordBytes         message.Number = 5
	recordACKs          message.Number = 6
	recordACKACKs       message.Number = 7
	recordNAKs          message.Number = 8
	recordReceiver      message.Number = 9
	recordRTT           message.Number = 10
	recordRTTVar        message.Number = 11
	recordTimed         message.Number = 12
	recordRecentACKs    message.Number = 13
	recordSeenAll       message.Number = 14
	recordSeenSome      message.Number = 15
	recordSeenWords     message.Number = 16
	recordRetransmitted message.Number = 17
	recordFilter        message.Number = 18
	recordLostBefore    message.Number = 19
	recordLostBehind    message.Number = 20
	recordLostReported  message.Number = 21
	recordDuplicated    message.Number = 22
	recordReordered     message.Number = 23
	recordDropped       message.Number = 24
	recordKeyRefreshes  message.Number = 25
	recordStrays        message.Number = 26
	recordImplausible   message.Number = 27
	recordDropping      message.Number = 28
	recordDroppedTo     message.Number = 29
	recordKeptACKs      message.Number = 30
	recordNoted         message.Number = 31
)

// countField is a counter with its field.
type countField struct {
	number message.Number
	value  *uint64
}

// fields returns all counters.
func (n *Counts) fields() [14]countField {
	return [...]countField{
		{recordPackets, &n.Packets},
		{recordBytes, &n.Bytes},
		{recordACKs, &n.ACKs},
		{recordACKACKs, &n.ACKACKs},
		{recordNAKs, &n.NAKs},
		{recordRetransmitted, &n.Retransmitted},
		{recordFilter, &n.Filter},
		{recordLostBefore, &n.LostBefore},
		{recordLostBehind, &n.LostBehind},
		{recordLostReported, &n.LostReported},
		{recordDuplicated, &n.Duplicated},
		{recordReordered, &n.Reordered},
		{recordDropped, &n.Dropped},
		{recordKeyRefreshes, &n.KeyRefreshes},
	}
}

func (r *record) appendSnapshot(b []byte, now time.Duration, c message.Clock) []byte {
	b = message.AppendTime(b, recordLast, c, r.last)
	b = message.AppendFixed32(b, recordNext, r.next)
	b = message.AppendFixed32(b, recordExpect, r.expect)
	for _, f := range r.Counts.fields() {
		b = message.AppendUint(b, f.number, *f.value)
	}
	b = message.AppendUint(b, recordStrays, r.strays)
	b = message.AppendUint(b, recordImplausible, r.implausible)
	b = message.AppendBool(b, recordDropping, r.dropping)
	b = message.AppendFixed32(b, recordDroppedTo, r.dropped)
	if r.hasReceiver {
		var mark int
		b, mark = message.Open(b, recordReceiver)
		b = message.Close(r.receiver.appendSnapshot(b), mark)
	}
	b = r.ackTimer.appendSnapshot(b, now)
	b = r.appendNoted(b, now)
	r.catchUp()
	return r.seen.appendSnapshot(b)
}

func (r *record) restore(b []byte, now time.Duration, c message.Clock) error {
	counts := r.Counts.fields()
	m := message.Read(b)
	for m.Next() {
		switch n := m.Number(); n {
		case recordLast:
			r.last = m.Time(c)
		case recordNext:
			r.next = sequence(&m)
		case recordExpect:
			r.expect = message.Uint[uint32](&m) & (wire.KeyMask | wire.RexmitBit | staleBit)
		case recordStrays:
			r.strays = message.Uint[uint8](&m)
		case recordImplausible:
			r.implausible = message.Uint[uint16](&m)
		case recordDropping:
			r.dropping = m.Bool()
		case recordDroppedTo:
			r.dropped = sequence(&m)
		case recordReceiver:
			r.hasReceiver = true
			m.Fail(r.receiver.restore(m.Bytes()))
		case recordNoted:
			r.restoreNoted(&m, now)
		case recordSeenAll, recordSeenSome, recordSeenWords:
			r.seen.restore(&m)
		case recordRTT, recordRTTVar, recordTimed, recordRecentACKs, recordKeptACKs:
			r.ackTimer.restore(&m, now)
		default:
			for _, f := range counts {
				if f.number == n {
					*f.value = message.Uint[uint64](&m)
				}
			}
		}
	}
	r.marked = r.next // seen is complete
	return m.Err()
}

// sequence reads a sequence number.
func sequence(m *message.Reader) uint32 {
	seq := message.Uint[uint32](m)
	if seq > wire.SequenceMask {
		m.Refuse("no sequence number")
		return 0
	}
	return seq
}

// Fields of a Receiver.
const (
	receiverRTT        message.Number = 1
	receiverRTTVar     message.Number = 2
	receiverBuffer     message.Number = 3
	receiverPacketRate message.Number = 4
	receiverCapacity   message.Number = 5
	receiverByteRate   message.Number = 6
)

func (v *Receiver) appendSnapshot(b []byte) []byte {
	b = message.AppendUint(b, receiverRTT, v.RTT)
	b = message.AppendUint(b, receiverRTTVar, v.RTTVar)
	b = message.AppendUint(b, receiverBuffer, v.Buffer)
	b = message.AppendUint(b, receiverPacketRate, v.PacketRate)
	b = message.AppendUint(b, receiverCapacity, v.Capacity)
	return message.AppendUint(b, receiverByteRate, v.ByteRate)
}

func (v *Receiver) restore(b []byte) error {
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case receiverRTT:
			v.RTT = message.Uint[uint32](&m)
		case receiverRTTVar:
			v.RTTVar = message.Uint[uint32](&m)
		case receiverBuffer:
			v.Buffer = message.Uint[uint32](&m)
		case receiverPacketRate:
			v.PacketRate = message.Uint[uint32](&m)
		case receiverCapacity:
			v.Capacity = message.Uint[uint32](&m)
		case receiverByteRate:
			v.ByteRate = message.Uint[uint32](&m)
		}
	}
	return m.Err()
}

// The words of a window come as two masks, by word: those with all bits set, which are
// nearly all of a stream without loss, and those with some, whose words follow in order.
// The others are zero.

func (w *window) appendSnapshot(b []byte) []byte {
	var all, some uint64
	for k, word := range w {
		switch word {
		case 0:
		case ^uint64(0):
			all |= 1 << k
		default:
			some |= 1 << k
		}
	}
	b = message.AppendFixed64(b, recordSeenAll, all)
	if some == 0 {
		return b
	}
	b = message.AppendFixed64(b, recordSeenSome, some)
	b, mark := message.Open(b, recordSeenWords)
	for ; some != 0; some &= some - 1 {
		b = binary.LittleEndian.AppendUint64(b, w[bits.TrailingZeros64(some)])
	}
	return message.Close(b, mark)
}

// restore reads one of the three fields of a window, which come in order.
func (w *window) restore(m *message.Reader) {
	switch m.Number() {
	case recordSeenAll:
		for mask := message.Uint[uint64](m); mask != 0; mask &= mask - 1 {
			w[bits.TrailingZeros64(mask)] = ^uint64(0)
		}
	case recordSeenSome:
		for mask := message.Uint[uint64](m); mask != 0; mask &= mask - 1 {
			w[bits.TrailingZeros64(mask)] = 1 // until its word comes
		}
	case recordSeenWords:
		words := m.Bytes()
		for k := range w {
			if w[k] == 1 && len(words) >= 8 {
				w[k] = binary.LittleEndian.Uint64(words)
				words = words[8:]
			}
		}
		if len(words) > 0 {
			m.Refuse("more words than the mask has")
		}
	}
}
