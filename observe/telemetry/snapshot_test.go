package telemetry

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

// A meter goes on in another process as if it had stayed: the same packets, seen by both,
// make the same numbers, wherever the snapshot is taken.
func TestSnapshotOfAMeter(t *testing.T) {
	const origin, older = 20 * time.Hour, 5*time.Hour + 1234567
	terms := Terms{callerFlags: wire.FlagRexmit, backendFlags: wire.FlagRexmit}
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		var here, there Slab
		m, n := Begin(2_000_000_000, &terms), Meter{}
		seq, now := uint32(2_000_000_000), time.Duration(0)
		moved := 1 + random.IntN(9000)
		for k := range 10_000 {
			now += time.Duration(random.IntN(2000)) * time.Microsecond
			way, p := traffic(random, &seq)
			here.Observe(&m, way, now, p)
			if k == moved {
				b := here.AppendSnapshot(nil, &m, now, message.Clock{Origin: origin})
				n = Begin(2_000_000_000, &terms)
				there = Slab{}
				there.allocate(new(Meter), ToCaller) // other places
				if err := there.Restore(&n, b, now+older, message.Clock{Origin: origin - older}); err != nil {
					t.Fatal(err)
				}
			} else if k > moved {
				there.Observe(&n, way, now+older, p)
			}
		}
		a, b := here.Report(&m), there.Report(&n)
		for way := range b {
			if b[way].Last != 0 {
				b[way].Last -= older
			}
			// Ages are rounded to whole microseconds, as the RTT is: it may differ by one.
			for _, d := range []*time.Duration{&a[way].RTT, &a[way].RTTVar, &b[way].RTT, &b[way].RTTVar} {
				*d = d.Round(10 * time.Microsecond)
			}
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d, moved after %d:\n%+v, want\n%+v", seed, moved, b, a)
		}
	}
}

// traffic makes the next datagram of a stream to the caller: with losses, repetitions,
// late and strange packets, and the reports of both ends.
func traffic(random *rand.Rand, seq *uint32) (Way, wire.Packet) {
	switch random.IntN(20) {
	case 0:
		*seq = (*seq + 1 + uint32(random.IntN(4))) & wire.SequenceMask // lost
	case 1:
		return ToCaller, dataPacket((*seq-uint32(random.IntN(100)))&wire.SequenceMask, true)
	case 2:
		return ToCaller, dataPacket((*seq-uint32(random.IntN(5000)))&wire.SequenceMask, false)
	case 3:
		return ToBackend, controlOf(wire.TypeACK, 0, *seq&0xFF+1, *seq, 30_000, 4_000, 8000, 500, 3000, 700_000)
	case 4:
		return ToCaller, controlOf(wire.TypeACKACK, 0, *seq&0xFF+1)
	case 5:
		return ToBackend, controlOf(wire.TypeNAK, 0, 0, *seq)
	}
	p := dataPacket(*seq, false)
	*seq = (*seq + 1) & wire.SequenceMask
	return ToCaller, p
}

// dataPacket builds a data packet with the even key.
func dataPacket(seq uint32, rexmit bool) wire.Packet {
	word := uint32(3<<30 | 1<<27 | 1)
	if rexmit {
		word |= wire.RexmitBit
	}
	return packetOf(seq, word)
}

// A stream without loss, as most are, takes little of a snapshot.
func TestSnapshotsOfMetersAreSmall(t *testing.T) {
	var s Slab
	m := Begin(0, new(Terms))
	for seq := range uint32(10_000) {
		s.Observe(&m, ToCaller, time.Duration(seq)*time.Millisecond, dataPacket(seq, false))
	}
	if n := len(s.AppendSnapshot(nil, &m, 10*time.Second, message.Clock{Origin: time.Hour})); n > 80 {
		t.Errorf("%d bytes", n)
	}
}

func TestSnapshotOfTerms(t *testing.T) {
	for _, want := range []Terms{
		{},
		{
			Names: &Names{Filter: "fec,cols:10", Congestion: "live"}, CallerVersion: 0x10503, BackendVersion: 0x10401,
			callerFlags: 0xBF, backendFlags: 0x3F, LatencyToBackend: 120, LatencyToCaller: 4000,
			GroupID: 0x40000001, GroupType: 2, Cipher: CipherGCM, KeyLen: 32,
		},
	} {
		var got Terms
		if err := got.Restore(want.AppendSnapshot(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func TestDamagedMeters(t *testing.T) {
	record := func(field []byte) []byte {
		b, mark := message.Open(nil, meterToCaller)
		return message.Close(append(b, field...), mark)
	}
	for name, b := range map[string][]byte{
		"no record":             message.AppendUint(nil, meterToBackend, uint32(7)),
		"a sequence number":     record(message.AppendFixed32(nil, recordNext, 1<<31)),
		"half a pair":           record(message.AppendBytes(nil, recordNoted, "half")),
		"a word too many":       record(message.AppendBytes(nil, recordSeenWords, "12345678")),
		"a number of 64 bits":   record(message.AppendUint(nil, recordRTT, uint64(1)<<32)),
		"a time in a long time": record(message.AppendFixed64(nil, recordLast, 1<<62)),
	} {
		var s Slab
		m := Begin(0, new(Terms))
		if err := s.Restore(&m, b, 0, message.Clock{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Many pairs take the places that there are.
	var s Slab
	m := Begin(0, new(Terms))
	many := make([]byte, 1000*pairSize)
	for _, n := range []message.Number{recordNoted, recordRecentACKs, recordKeptACKs} {
		if err := s.Restore(&m, record(message.AppendBytes(nil, n, many)), time.Second, message.Clock{}); err != nil {
			t.Error(err)
		}
	}
}
