package streams

import (
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// idleRounds is for how many samples a session without media is remembered: a
// pause shorter than that does not interrupt its rates.
const idleRounds = 10

// track is what is remembered of a session that carries media, from one sample
// to the next: two cache lines, because a tick goes through all of them.
type track struct {
	gen   uint32        // of the session; 0 is nobody's track
	round uint32        // of the last sample with media
	at    time.Duration // of the last sample, by the Watch's clock
	bytes [2]uint64     // by telemetry.Way; they may grow by more than a mark tells
	marks [2]marks      // by telemetry.Way
	rates
	stream *stream
}

// rates are of the last second.
type rates struct {
	flow            [2]flowRate // by telemetry.Way
	caller, backend ratio       // loss on the two sides
}

type flowRate struct{ bits, packets float32 } // per second

// mark is where a counter of packets stood: its lower half, because what it
// grows by between two samples fits in there many times over.
type mark uint32

// pass moves the mark to where the counter stands now, and returns what it has
// grown by; nothing if it went back.
func (m *mark) pass(now uint64) uint64 {
	grown := int32(uint32(now) - uint32(*m))
	*m = mark(now)
	return uint64(max(grown, 0))
}

// marks are those of one way.
type marks struct{ datagrams, packets, repeats, before, behind mark }

// growth is what one way grew by.
type growth struct {
	bytes, datagrams uint64
	media
}

func (g *growth) rate(seconds float64) flowRate {
	return flowRate{bits: float32(float64(g.bytes) * 8 / seconds), packets: float32(float64(g.datagrams) / seconds)}
}

// pass moves all marks of a way to where it stands, and returns what it has
// grown by.
func (t *track) pass(way telemetry.Way, f shard.Flow, now media) growth {
	m := &t.marks[way]
	g := growth{
		bytes: less(f.Bytes, t.bytes[way]), datagrams: m.datagrams.pass(f.Packets),
		media: media{m.packets.pass(now.packets), m.repeats.pass(now.repeats), m.before.pass(now.before), m.behind.pass(now.behind)},
	}
	t.bytes[way] = f.Bytes
	return g
}

func (t *track) passBoth(v *shard.View) (up, down growth) {
	return t.pass(telemetry.ToBackend, v.ToBackend, mediaOf(v, telemetry.ToBackend)),
		t.pass(telemetry.ToCaller, v.ToCaller, mediaOf(v, telemetry.ToCaller))
}

// follow takes a sample, of a time by the Watch's clock.
func (t *track) follow(v *shard.View, at time.Duration, round uint32) {
	elapsed := (at - t.at).Seconds()
	t.round = round
	if elapsed <= 0 {
		return
	}
	up, down := t.passBoth(v)
	t.flow[telemetry.ToBackend], t.flow[telemetry.ToCaller] = up.rate(elapsed), down.rate(elapsed)
	t.caller, t.backend = sides(up.media, down.media)
	t.at = at
}

// rest takes a second without media.
func (t *track) rest(at time.Duration) {
	t.rates = rates{}
	t.at = at
}
