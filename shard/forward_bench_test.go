package shard

import (
	"encoding/binary"
	"testing"

	"srtrelay/udp"
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
					r.counters.inc(r.take(&r.fronts[0], &d, p))
				}
				r.flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/datagram")
		})
	}
}
