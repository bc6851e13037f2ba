package streams

import (
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// idleRounds is for how many samples a session without media keeps its track: a shorter
// pause does not interrupt its rates.
const idleRounds = 10

// track is the state of a session with media between samples. It has two cache lines,
// because each tick visits all tracks.
type track struct {
	gen   uint32        // of the session; 0 in an unused track
	round uint32        // of the last sample with media
	at    time.Duration // of the last sample, by the Watch's clock
	bytes [2]uint64     // by telemetry.Way; they may grow by more than a mark can hold
	marks [2]marks      // by telemetry.Way
	rates
	stream *stream
}

// rates are those of the last second.
type rates struct {
	flow            [2]flowRate // by telemetry.Way
	caller, backend ratio       // loss on the two sides
}

type flowRate struct{ bits, packets float32 } // per second

// mark is the lower half of a packet counter at the last sample, which is enough to
// compute its growth.
type mark uint32

// pass sets the mark to the counter and returns the growth, 0 if the counter decreased.
func (m *mark) pass(now uint64) uint64 {
	grown := int32(uint32(now) - uint32(*m))
	*m = mark(now)
	return uint64(max(grown, 0))
}

// marks are those of one way.
type marks struct{ datagrams, packets, repeats, before, behind mark }

// growth is the growth of one way's counters.
type growth struct {
	bytes, datagrams uint64
	mediaCounts
}

func (g *growth) rate(seconds float64) flowRate {
	return flowRate{bits: float32(float64(g.bytes) * 8 / seconds), packets: float32(float64(g.datagrams) / seconds)}
}

// pass sets all marks of a way to its counters, and returns their growth.
func (t *track) pass(way telemetry.Way, f shard.Flow, now mediaCounts) growth {
	m := &t.marks[way]
	g := growth{
		bytes: growthOf(f.Bytes, t.bytes[way]), datagrams: m.datagrams.pass(f.Packets),
		mediaCounts: mediaCounts{m.packets.pass(now.packets), m.repeats.pass(now.repeats), m.before.pass(now.before), m.behind.pass(now.behind)},
	}
	t.bytes[way] = f.Bytes
	return g
}

func (t *track) passBoth(v *shard.Sample) (up, down growth) {
	return t.pass(telemetry.ToBackend, v.ToBackend, mediaOf(v, telemetry.ToBackend)),
		t.pass(telemetry.ToCaller, v.ToCaller, mediaOf(v, telemetry.ToCaller))
}

// follow computes the rates from a sample; at is by the Watch's clock.
func (t *track) follow(v *shard.Sample, at time.Duration, round uint32) {
	elapsed := (at - t.at).Seconds()
	t.round = round
	if elapsed <= 0 {
		return
	}
	up, down := t.passBoth(v)
	t.flow[telemetry.ToBackend], t.flow[telemetry.ToCaller] = up.rate(elapsed), down.rate(elapsed)
	t.caller, t.backend = lossBySide(up.mediaCounts, down.mediaCounts)
	t.at = at
}

// idle notes a sample without media.
func (t *track) idle(at time.Duration) {
	t.rates = rates{}
	t.at = at
}
