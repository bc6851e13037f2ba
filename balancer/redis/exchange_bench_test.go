package redis

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// BenchmarkExchange is a second of a relay that announces, and reads again,
// 100,000 live streams every 15 s: 6,667 of them, and what is known of all.
func BenchmarkExchange(b *testing.B) {
	t := new(testing.T)
	s := startRedis(t)
	defer s.kill()
	defer s.Close()
	reg := backend.NewRegistry()
	for i := range 20 {
		if err := reg.Put(static(i)); err != nil {
			b.Fatal(err)
		}
	}
	snap := reg.Snapshot()
	r := &Balancer{
		registry: reg, memory: balancer.NewMemory(reg, time.Now), client: connect(at(s.addr), usualWaits), waits: usualWaits,
		announcer: newAnnouncer(), log: slog.New(slog.DiscardHandler),
	}
	defer r.client.Close()
	all := make([]announcement, maxLive)
	for i := range all {
		all[i] = announcement{balancer.AffinityKey{Stream: key(i)}, r.names.keyOf(snap.Backends[i%20]), true}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	second := func(i int) {
		from := i % announceRounds * maxLive / announceRounds
		r.announcer.queue = all[from : from+maxLive/announceRounds+1]
		for _, due := range r.announcer.queue {
			r.announcer.live.due(due.key, snap.Backends[0].ID, true)
		}
		if err := r.exchange(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for i := range announceRounds {
		second(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	own, redis, in, out := ownCPU(b), redisStat(b, s, "cpu", "used_cpu_user")+redisStat(b, s, "cpu", "used_cpu_sys"),
		redisStat(b, s, "stats", "total_net_input_bytes"), redisStat(b, s, "stats", "total_net_output_bytes")
	n := 0
	for b.Loop() {
		second(n)
		n++
	}
	per := func(sum float64) float64 { return sum / float64(n) }
	b.ReportMetric(per((ownCPU(b)-own).Seconds()*1e3), "relay-ms/s")
	b.ReportMetric(per((redisStat(b, s, "cpu", "used_cpu_user")+redisStat(b, s, "cpu", "used_cpu_sys")-redis)*1e3), "redis-ms/s")
	b.ReportMetric(per(redisStat(b, s, "stats", "total_net_input_bytes")-in), "written-B/s")
	b.ReportMetric(per(redisStat(b, s, "stats", "total_net_output_bytes")-out), "read-B/s")
	b.ReportMetric(redisStat(b, s, "memory", "used_memory")/1e6, "redis-MB")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "relay-MB")
	if r.announcer.live.len() != maxLive {
		b.Fatalf("%d known", r.announcer.live.len())
	}
}

// ownCPU is the CPU time of this process.
func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// redisStat returns a number of a server's INFO.
func redisStat(b *testing.B, s *server, section, name string) (n float64) {
	for line := range strings.Lines(s.Info(b.Context(), section).Val()) {
		if _, err := fmt.Sscanf(line, name+":%f", &n); err == nil {
			return n
		}
	}
	b.Fatalf("Redis does not say %s", name)
	return 0
}
