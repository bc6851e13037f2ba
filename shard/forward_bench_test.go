package shard

import (
	"encoding/binary"
	"testing"

	"srtrelay/udp"
	"srtrelay/wire"
)

// A caller's media from the batch to the wire, without receiving it: nobody
// reads at the other end, so the kernel's part is that of sending.
func BenchmarkForward(b *testing.B) {
	for name, on := range map[string]bool{"telemetry on": true, "telemetry off": false} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.Telemetry = on })
			r.establish(r.caller, callerID, callerISN, backendID)
			const batch = 64
			data := make([]byte, batch*1332)
			d := udp.Datagram{Stride: 1332, From: fromConn(r.caller)}
			for i := range batch {
				copy(data[i*1332:], media(backendID, 0, 3<<30|1))
			}
			b.ReportAllocs()
			seq := uint32(callerISN)
			for b.Loop() {
				for i := range batch {
					p := data[i*1332 : (i+1)*1332 : (i+1)*1332]
					binary.BigEndian.PutUint32(p, seq&(1<<31-1))
					seq++
					r.counters.inc(r.dispatch(&r.fronts[0], &d, p))
				}
				r.flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/datagram")
		})
	}
}

// How soon it is found that a datagram is nobody's: what a flood of each kind
// costs, beyond receiving it.
func BenchmarkClassify(b *testing.B) {
	for name, p := range map[string][]byte{
		"short":          make([]byte, 12),
		"unknown ID":     media(0x12345678, 1, 0),
		"to nobody":      media(0, 1, 0),
		"forged cookie":  conclusion(77, callerISN, 0xbad, 0),
		"not a listener": wire.AppendShutdown(nil, 0, 0),
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			r.establish(r.caller, callerID, callerISN, backendID)
			stranger := fromConn(r.caller)
			stranger.Port++
			d := udp.Datagram{Data: p, Stride: len(p), From: stranger}
			// The first may be answered, and uses up what the stranger may ask for.
			r.dispatch(&r.fronts[0], &d, p)
			r.flush()
			b.ReportAllocs()
			for b.Loop() {
				if fate := r.dispatch(&r.fronts[0], &d, p); !fate.IsDrop() {
					b.Fatalf("fate %v", fate)
				}
			}
		})
	}
}
