package cluster

import (
	"context"
	"encoding/json"
	"time"
)

// summaryRounds is how many reports of a relay with many streams have one summary: to
// write and read it costs all relays some milliseconds.
const (
	summaryRounds = 5
	manyStreams   = 2000
)

// maxName is the longest text of a presence report, in bytes; others are cut.
const maxName = 256

// Run reports until ctx ends, and reads the reports of the others from time to time, so
// that there is something to show when the store is away. report returns the relay's
// report; an error means that it is not known at present.
func (v *View) Run(ctx context.Context, report func(context.Context) (Report, error)) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for round := 0; ; round++ {
		v.write(ctx, round, report)
		if round%readRounds == 0 {
			limited, cancel := context.WithTimeout(ctx, Interval) // or the next report is late
			v.refresh(limited)
			cancel()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// write writes one report.
func (v *View) write(ctx context.Context, round int, report func(context.Context) (Report, error)) {
	limited, cancel := context.WithTimeout(ctx, Interval)
	defer cancel()
	r, err := report(limited)
	if err != nil {
		return // the shards do not answer: the relay looks away, as it is
	}
	var summary []byte
	if len(r.List) <= manyStreams || round%summaryRounds == 0 {
		v.revision++
		summary, v.listed = summarize(v.revision, r.List)
	}
	r.Revision, r.Listed = v.revision, v.listed
	err = v.store.WriteReport(limited, encodeInfo(r.Info), summary)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		v.counts.WriteErrors++
	}
	if err == nil {
		v.counts.Written += uint64(len(summary))
	}
}

// encodeInfo returns a presence report as text, of at most MaxInfo bytes.
func encodeInfo(info Info) []byte {
	for _, text := range []*string{&info.Name, &info.Version, &info.API, &info.Forward, &info.Overload, &info.Place} {
		*text = (*text)[:min(len(*text), maxName)]
	}
	b, err := json.Marshal(info)
	if err != nil || len(b) > MaxInfo { // a rate that is no number, or characters that JSON escapes
		b, _ = json.Marshal(Info{UptimeSeconds: 0, Shards: info.Shards, Revision: info.Revision, Listed: info.Listed, Place: info.Place})
	}
	return b
}
