package shard

import (
	"log/slog"
	"testing"
	"time"

	"srtrelay/internal/supervise"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// What 100,000 sessions in the kernel path cost a shard though nothing passes: a sweep, which
// visits all of them in one to five seconds, and the samples, which visit them as often. Figures
// are per session. All have had media, so that they have records.
func BenchmarkKernelSessions(b *testing.B) {
	const many = 100_000
	enterNamespace(b)
	log := slog.New(slog.DiscardHandler)
	path, err := kernelpath.Open(kernelpath.Config{Shards: 1, Places: many, Log: log, Supervisor: supervise.New(log)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(path.Close)
	r := newRig(b, func(c *Config) { c.MaxSessions, c.Kernel = many, path })
	for range many {
		i, ss := r.sessions.alloc()
		ss.state, ss.inKernel, ss.callerSeen, ss.backendSeen = StateEstablished, true, time.Second, time.Second
		ss.meter = telemetry.Begin(callerISN, &r.sessions.cold(i).terms)
		r.meters.InOrder(&ss.meter, telemetry.ToBackend, callerISN+1, 1316, time.Second)
		r.restoreAccount(i, ss)
		r.kernel.state(i)
		r.kernel.path.Reset(i, ss.gen)
	}
	r.now = time.Minute
	perSession := func(b *testing.B, visited int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(visited), "ns/session")
	}
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			r.now += sweepGap
			r.meterSessions()
		}
		perSession(b, chunkSize)
	})
	samples, at := make([]Sample, maxViews), uint32(0)
	sample := func(since time.Duration) {
		_, next, end := r.sampleSome(at, samples, since)
		if at = next; end {
			at = 0
		}
	}
	b.Run("samples", func(b *testing.B) {
		for b.Loop() {
			sample(0)
		}
		perSession(b, maxViews)
	})
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			sample(time.Hour)
		}
		perSession(b, maxVisits)
	})
	r.sessions = sessions{table: newTable(), seed: r.sessions.seed}
}
