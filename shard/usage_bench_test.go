package shard

import (
	"net/netip"
	"testing"
	"time"

	"srtrelay/shard/limit"
)

// What limits cost a shard with 100,000 sessions, all of other sources and streams: a chunk of
// sessions measured, and a slice of sources listed. Each is one turn's.
func BenchmarkUsage(b *testing.B) {
	const many = 100_000
	r := newRig(b, func(c *Config) { c.MaxSessions = many })
	for k := range many {
		i, ss := r.sessions.alloc()
		ss.state, ss.caller = StateEstablished, addrFrom(netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), 1)
		key := netip.AddrFrom4([4]byte{byte(k >> 16), byte(k >> 8), byte(k), 0}).String()
		r.sessions.cold(i).setNames(key, len(key))
		r.restoreAccount(i, ss)
	}
	r.now = time.Minute
	b.Run("chunk", func(b *testing.B) {
		for b.Loop() {
			r.now += sweepGap
			r.meterSessions()
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			r.now += listGap
			r.listUsage()
		}
	})
	b.Run("check", func(b *testing.B) {
		r.limits.MaxSessionsPerSource, r.limits.MaxConnectsPerSource = 10, 10
		r.limits.Subnet = limit.SourceLimits{Sessions: 1000, Connects: 1000}
		k := 0
		for b.Loop() {
			k = (k + 7919) % many
			if met, _ := r.checkSource(r.sessions.at(uint32(k)).caller.IP, false); met != limit.NoLimit {
				b.Fatal(met)
			}
		}
	})
	r.sessions = sessions{table: newTable(), seed: r.sessions.seed}
}
