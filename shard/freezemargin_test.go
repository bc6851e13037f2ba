package shard

import (
	"fmt"
	"testing"
	"time"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// fullPayload is what a live stream puts into a datagram: seven packets of MPEG-TS.
const fullPayload = 1316

// BenchmarkFreezeMargin measures how many datagrams of 1,332 bytes wait in one front socket
// before one is lost: divided by a shard's rate it is how long a take-over may last.
func BenchmarkFreezeMargin(b *testing.B) {
	for _, size := range []int{4 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("rcvbuf=%dMiB", size>>20), func(b *testing.B) {
			fit := 0
			for b.Loop() {
				fit = freezeMargin(b, size)
			}
			b.ReportMetric(float64(fit), "datagrams")
		})
	}
}

// freezeMargin returns how many datagrams fit.
func freezeMargin(b *testing.B, size int) (fit int) {
	w := marginWorld(b, size)
	w.freeze()
	const piece = 100
	payload := make([]byte, fullPayload)
	front := w.shards[0].fronts[0].sock // parked: nobody else uses it
	front.Queues()
	for fit = 0; front.Queues().Dropped == 0; fit += piece {
		for range piece {
			if err := w.sessions[0].SendData(payload); err != nil {
				b.Fatal(err)
			}
		}
	}
	w.Resume()
	w.Stop()
	return fit - piece
}

// marginWorld is one shard whose sockets have receive buffers of a size, with a publisher.
func marginWorld(b *testing.B, size int) *world {
	w := newWorld(b, func(c *Config) { c.Shards, c.Sockets.RecvBuf = 1, size })
	if recv, _ := w.GrantedBuffers(); recv < size {
		need.Skip(b, "a receive buffer of that size needs root")
	}
	w.connect(1)
	w.backend.SetMode(srttest.Sink)
	return w
}

// BenchmarkFreezeStretched freezes a shard longer and longer while datagrams come at a rate,
// until the kernel drops one: held-ms is the longest freeze that lost nothing, lost-ms the
// next one. Datagrams come before and after it too.
func BenchmarkFreezeStretched(b *testing.B) {
	for _, size := range []int{4 << 20, 16 << 20} {
		for _, rate := range []int{10_000, 60_000} {
			b.Run(fmt.Sprintf("rcvbuf=%dMiB/rate=%d", size>>20, rate), func(b *testing.B) {
				var held, lost time.Duration
				for b.Loop() {
					held, lost = stretchFreeze(b, size, rate)
				}
				b.ReportMetric(held.Seconds()*1e3, "held-ms")
				b.ReportMetric(lost.Seconds()*1e3, "lost-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// stretchFreeze returns the longest freeze that lost nothing, and the shortest that did.
func stretchFreeze(b *testing.B, size, rate int) (held, lost time.Duration) {
	w := marginWorld(b, size)
	defer w.Stop()
	var sent uint64
	for hold := 20 * time.Millisecond; hold < time.Minute; hold += hold / 20 {
		received, dropped := w.sum(CountReceivedFront), w.sum(CountKernelDrops)
		n, took := w.freezeUnder(rate, hold)
		sent += n
		deadline := time.Now().Add(10 * time.Second)
		for w.sum(CountReceivedFront)+w.sum(CountKernelDrops) < received+dropped+n && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond) // counters have no event
		}
		gone := w.sum(CountKernelDrops) - dropped
		if got := w.sum(CountReceivedFront) - received; got+gone < n {
			b.Fatalf("%d sent during and around a freeze of %v, %d received, %d dropped", n, took, got, gone)
		}
		if gone > 0 {
			b.Logf("%d datagrams/s: %v held, %v lost %d of %d", rate, held.Round(time.Millisecond), took.Round(time.Millisecond), gone, n)
			return held, took
		}
		held = took
	}
	b.Fatalf("no freeze up to %v loses a datagram; %d sent", held, sent)
	return 0, 0
}

// freezeUnder freezes the shard for some time while datagrams come at a rate, and for a tenth
// of a second around it. It returns how many they were, and how long the freeze was.
func (w *world) freezeUnder(rate int, hold time.Duration) (n uint64, took time.Duration) {
	const around = 50 * time.Millisecond
	payload := make([]byte, fullPayload)
	stop := make(chan struct{})
	w.senders.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for begun := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for due := uint64(time.Since(begun).Seconds() * float64(rate)); n < due; n++ {
				if err := w.sessions[0].SendData(payload); err != nil {
					w.t.Errorf("send: %v", err)
					return
				}
			}
		}
	})
	time.Sleep(around)
	w.freeze()
	begun := time.Now()
	time.Sleep(hold)
	w.Resume()
	took = time.Since(begun)
	time.Sleep(around)
	close(stop)
	w.senders.Wait()
	return n, took
}
