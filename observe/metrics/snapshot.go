package metrics

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"srtrelay/api/answer"
	"srtrelay/internal/message"
)

// snapshotVersion is the version of what AppendSnapshot writes.
const snapshotVersion = 1

// Fields of the snapshot of histograms and counters.
const (
	metricsHistogram message.Number = 2
	metricsCounter   message.Number = 3
)

// Fields of a histogram.
const (
	histogramName   message.Number = 1
	histogramBucket message.Number = 2 // for each bound in order, and one for greater values
	histogramSum    message.Number = 3
)

// Fields of a bucket.
const (
	bucketBound message.Number = 1
	bucketCount message.Number = 2
)

// Fields of a counter.
const (
	counterName  message.Number = 1
	counterLabel message.Number = 2 // in order
	counterValue message.Number = 3
)

// histograms returns all histograms by name.
func histograms(q *Quality, e *Events) map[string]*histogram {
	all := map[string]*histogram{"handshakes": e.handshakes, "sessions": e.sessions}
	for _, leg := range []string{answer.LegCaller, answer.LegBackend} {
		all["rtt "+leg], all["loss "+leg] = q.rtt[leg], q.loss[leg]
	}
	return all
}

// families returns all counters by name.
func families(e *Events) map[string]*counters {
	return map[string]*counters{"ended": e.ended, "rejected": e.rejected}
}

// AppendSnapshot appends the histograms and counters that are kept in this package. The
// shards' counters are handed on with the shards.
func AppendSnapshot(b []byte, q *Quality, e *Events) []byte {
	b = message.AppendVersion(b, snapshotVersion)
	all := histograms(q, e)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out, mark := message.Open(b, metricsHistogram)
		b = message.Close(all[name].appendSnapshot(message.AppendBytes(out, histogramName, name)), mark)
	}
	for name, c := range families(e) {
		b = c.appendSnapshot(b, name)
	}
	return b
}

func (h *histogram) appendSnapshot(b []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, n := range h.counts {
		out, mark := message.Open(b, histogramBucket)
		if k < len(h.bounds) {
			out = message.AppendFixed64(out, bucketBound, math.Float64bits(h.bounds[k]))
		}
		b = message.Close(message.AppendUint(out, bucketCount, n), mark)
	}
	return message.AppendFixed64(b, histogramSum, math.Float64bits(h.sum))
}

func (c *counters) appendSnapshot(b []byte, name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for labels, v := range c.values {
		out, mark := message.Open(b, metricsCounter)
		out = message.AppendBytes(out, counterName, name)
		for _, label := range strings.Split(labels, labelSeparator) {
			out = message.AppendEntry(out, counterLabel, label)
		}
		b = message.Close(message.AppendUint(out, counterValue, v), mark)
	}
	return b
}

// restored is what a snapshot adds to the histograms and counters.
type restored struct {
	adds []func()
	seen map[string]bool // histograms
}

// Restore adds what another process had counted. A histogram with other buckets, as
// another version may have, starts anew. After an error nothing has changed.
func Restore(b []byte, q *Quality, e *Events) error {
	all := restored{seen: make(map[string]bool)}
	r, err := message.ReadVersion(b, snapshotVersion, snapshotVersion)
	for err == nil && r.Next() {
		switch r.Number() {
		case metricsHistogram:
			all.histogram(&r, histograms(q, e))
		case metricsCounter:
			all.counter(&r, families(e))
		}
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the metrics: %w", err)
	}
	for _, add := range all.adds {
		add()
	}
	return nil
}

func (a *restored) histogram(in *message.Reader, known map[string]*histogram) {
	var name string
	var bounds []float64
	var counts []uint64
	var sum float64
	each(in, func(r *message.Reader) {
		switch r.Number() {
		case histogramName:
			name = r.String()
		case histogramBucket:
			var bound float64
			var n uint64
			each(r, func(r *message.Reader) {
				switch r.Number() {
				case bucketBound:
					bound = r.Float()
				case bucketCount:
					n = message.Uint[uint64](r)
				}
			})
			bounds, counts = append(bounds, bound), append(counts, n)
		case histogramSum:
			sum = r.Float()
		}
	})
	if a.seen[name] {
		in.Refuse("a histogram twice")
	}
	a.seen[name] = true
	h := known[name]
	if h == nil || len(counts) != len(h.counts) || !slices.Equal(bounds[:len(h.bounds)], h.bounds) {
		return
	}
	a.adds = append(a.adds, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sum += sum
		for k, n := range counts {
			h.counts[k] += n
		}
	})
}

func (a *restored) counter(in *message.Reader, known map[string]*counters) {
	var name string
	var labels []string
	var v uint64
	each(in, func(r *message.Reader) {
		switch r.Number() {
		case counterName:
			name = r.String()
		case counterLabel:
			labels = append(labels, r.String())
		case counterValue:
			v = message.Uint[uint64](r)
		}
	})
	if c := known[name]; c != nil && len(labels) == c.labels && !slices.ContainsFunc(labels, badLabel) {
		a.adds = append(a.adds, func() { c.add(v, labels...) })
	}
}

// badLabel reports whether a text cannot be the value of a label.
func badLabel(s string) bool { return !utf8.ValidString(s) || strings.Contains(s, labelSeparator) }

// each calls fn for every field of the message in the present field.
func each(r *message.Reader, fn func(*message.Reader)) {
	inner := message.Read(r.Bytes())
	for inner.Next() {
		fn(&inner)
	}
	r.Fail(inner.Err())
}
