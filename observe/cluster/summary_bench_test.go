package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func BenchmarkSummary(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			list := make([]Stream, n)
			for i := range list {
				list[i] = Stream{
					Key: fmt.Sprintf("__defaultVhost__/live/camera-%x", rand.Uint32()), Backend: fmt.Sprintf("10.0.0.%d:10080", i%20), Address: fmt.Sprintf("10.0.0.%d:10080", i%20),
					Sessions: uint32(1 + rand.IntN(20)), Publishers: 1, Players: uint32(rand.IntN(20)), In: uint64(3e6 + rand.IntN(5e6)), Out: uint64(rand.IntN(1e8)),
					Age: time.Duration(rand.IntN(1e5)) * time.Second,
				}
			}
			var text []byte
			for b.Loop() {
				text, _ = summarize(1, list)
				if _, _, err := readSummary(text); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(text))/float64(n), "bytes/stream")
		})
	}
}
