package shard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// established puts n established sessions into a shard: players of 1,000 streams at 8
// backends, with media and its ACKs.
func (r *rig) established(n int) {
	s := r.Shard
	to := func(k int) addr.AddrPort {
		return addr.From(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2, 0, byte(k % 8)}), 9000))
	}
	r.turn()
	data := media(callerID, 0, 3<<30|1)
	ack := ackOf(wire.TypeACK, backendID, 1, 200, 50_000, 1000, 8000, 190, 2000, 250_000)
	for k := range n {
		i, ss := s.sessions.alloc()
		cold := s.sessions.cold(i)
		ss.state = StateEstablished
		ss.caller = addr.From(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(k >> 8), byte(k)}), uint16(k>>16)+5000))
		ss.callerID, ss.backendID, ss.isn = uint32(k)*2654435761|1, uint32(k)*40503+7, uint32(k)
		ss.backend, ss.lease = to(k), backend.Lease(k+1)
		ss.callerSeen, ss.backendSeen, ss.establishedAt, cold.opened = s.now, s.now, s.now, s.now
		key := fmt.Sprintf("__defaultVhost__/live/stream-%03d", k%1000)
		cold.setNames(key+fmt.Sprintf("#!::r=live/stream-%03d,m=request,token=%08x", k%1000, k), len(key))
		s.peers.join(&s.sessions, i, ss, backend.ID(fmt.Sprint("b", k%8)))
		s.sessions.keyCaller(i, ss)
		s.sessions.keyBack(i, ss)
		s.sessions.keyFront(i, ss)
		s.restoreAccount(i, ss)
		cold.terms = telemetry.Terms{CallerVersion: 0x10501, BackendVersion: 0x10501, LatencyToCaller: 120}
		ss.meter = telemetry.Begin(ss.isn, &cold.terms)
		for seq := range uint32(200) {
			binary.BigEndian.PutUint32(data, ss.isn+seq)
			s.meters.Observe(&ss.meter, telemetry.ToCaller, s.now, data)
		}
		s.meters.Observe(&ss.meter, telemetry.ToBackend, s.now, ack)
		ss.toCaller = Flow{200, 200 * 1332}
		s.wheel.Set(i, s.checkDue(i, ss))
	}
}

// A shard with many players, as in the middle of a take-over. Beside it, the time for
// what every shard has.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MaxSessions = n })
			r.established(n)
			defer r.sessions.each(func(i uint32, ss *session) { ss.state = StateFree })
			size := 0
			b.ReportAllocs()
			r.counters.publish()
			for b.Loop() {
				b.StopTimer()
				space := r.snapshotBuffer()
				b.StartTimer()
				size = len(r.appendSnapshot(space))
			}
			b.ReportMetric(float64(size)/float64(n), "B/session")
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MaxSessions = n })
			r.established(n)
			defer r.sessions.each(func(i uint32, ss *session) { ss.state = StateFree })
			snapshot := r.appendSnapshot(nil)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				next := r.successor()
				next.reserve(n)
				b.StartTimer()
				if err := next.restore(snapshot); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = next.poller.Close()
				_ = next.batch.Close()
				b.StartTimer()
			}
		})
	}
}

var _ = handshake.CodeNone
