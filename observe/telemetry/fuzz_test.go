package telemetry

import (
	"encoding/binary"
	"testing"
	"time"

	"srtrelay/wire"
)

// Whatever two peers send, a meter counts each data packet once and never
// counts below zero or beyond what the bounds allow.
func FuzzObserve(f *testing.F) {
	seed := func(ps ...wire.Packet) {
		var b []byte
		for i, p := range ps {
			p = p[:min(len(p), 40)]
			b = append(b, byte(i%2), byte(len(p)))
			b = append(b, p...)
		}
		f.Add(b)
	}
	seed(packetOf(firstSeq, plain), packetOf(1<<30, rexmit), packetOf(firstSeq, odd), packetOf(5, filter))
	seed(fullACK(1), controlOf(wire.TypeACKACK, 0, 1), controlOf(wire.TypeNAK, 0, 0, 1<<31|3, 9), controlOf(wire.TypeDropReq, 0, 1, 5, 9))
	seed(user(wire.SubtypeHSReq, features(wire.BlockHSReq, 1, 0x20, 1, 1)[4:]), user(wire.SubtypeKMReq, keyMaterial(CipherCTR, 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(firstSeq)
		var terms Terms
		sent, datagrams := [2]uint64{}, uint64(0)
		for len(b) >= 2 {
			way, n := Way(b[0]&1), int(b[1])
			r.now += time.Duration(b[0]) * time.Millisecond
			b = b[2:]
			p := make([]byte, max(n, wire.HeaderSize))
			b = b[copy(p, b[:min(n, len(b))]):]
			if !wire.Packet(p).IsControl() {
				sent[way]++
			}
			datagrams++
			if r.see(way, p) && terms.Learn(way, p) {
				r.slab.Settle(&r.m, &terms)
			}
		}
		for way, q := range r.slab.Report(&r.m) {
			if q.Packets != sent[way] {
				t.Errorf("%d data packets, sent %d", q.Packets, sent[way])
			}
			if of := q.Retransmitted + q.Filter; of > q.Packets {
				t.Errorf("%d of %d packets are special", of, q.Packets)
			}
			if q.LostBefore > (maxGap+1)*q.Packets || q.LostBehind > q.Retransmitted || q.Duplicated+q.Reordered > q.Packets ||
				q.LostReported > 64*maxGap*datagrams || q.Dropped > maxGap*datagrams {
				t.Errorf("%+v", q)
			}
			if q.RTT < 0 || q.RTT > ackTimeout {
				t.Errorf("RTT %v", q.RTT)
			}
		}
	})
}

// What a lie costs is bounded: the dearest datagrams a peer can send.
func BenchmarkWorst(b *testing.B) {
	var list []uint32
	for i := range uint32(182) {
		list = append(list, 1<<31|i*1000, i*1000+999)
	}
	for name, ps := range map[string][2]wire.Packet{
		"NAK of 1472 bytes":   {controlOf(wire.TypeNAK, 0, 0, list...), controlOf(wire.TypeNAK, 0, 0, list...)},
		"largest gap":         {packetOf(0, plain), packetOf(maxGap, plain)},
		"ACK after ACK":       {fullACK(1), fullACK(2)},
		"retransmissions":     {packetOf(0, rexmit), packetOf(1, rexmit)},
		"begin after begin":   {packetOf(0, plain), packetOf(1<<29, plain)},
		"changing keys, gaps": {packetOf(0, odd), packetOf(0, even)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := newRig(0)
			way := ToBackend
			if ps[0].IsControl() {
				way = ToCaller
			}
			for i := 0; b.Loop(); i++ {
				p := ps[i&1]
				if !p.IsControl() {
					binary.BigEndian.PutUint32(p, (binary.BigEndian.Uint32(p)+uint32(i)*7)&wire.SequenceMask)
				} else if p.Is(wire.TypeACK) {
					binary.BigEndian.PutUint32(p[4:], uint32(i))
				}
				r.see(way, p)
			}
		})
	}
}
