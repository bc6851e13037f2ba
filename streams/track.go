package streams

import (
	"context"
	"time"

	"srtrelay/shard"
	"srtrelay/telemetry"
)

// idleRounds is for how many samples a session without media is remembered: a
// pause shorter than that does not interrupt its rates.
const idleRounds = 10

// track is what is remembered of a session that carries media, from one sample
// to the next.
type track struct {
	round uint64 // of the last sample with media
	at    time.Time
	flows [2]shard.Flow       // by telemetry.Way
	media [2]telemetry.Counts // by telemetry.Way
	rates
}

// rates are of the last second.
type rates struct {
	flow            [2]flowRate // by telemetry.Way
	caller, backend ratio       // loss on the two sides
}

type flowRate struct{ bits, packets float64 } // per second

// ratio is lost of sent; nothing was sent if that is 0.
type ratio struct{ lost, sent uint64 }

func (r ratio) known() bool { return r.sent > 0 }

// share is between 0 and 1.
func (r ratio) share() float64 { return float64(r.lost) / float64(r.sent) }

// sides tells where media was lost: what comes from a side and never reached
// the relay, and what goes to it and had to be sent again, was lost there.
func sides(ways *[2]telemetry.Counts) (caller, backend ratio) {
	up, down := &ways[telemetry.ToBackend], &ways[telemetry.ToCaller]
	caller = ratio{up.LostBefore + down.LostBehind, firsts(up) + up.LostBefore + down.Packets}
	backend = ratio{down.LostBefore + up.LostBehind, firsts(down) + down.LostBefore + up.Packets}
	return caller.sane(), backend.sane()
}

// firsts are the packets that were not sent again.
func firsts(c *telemetry.Counts) uint64 { return less(c.Packets, c.Retransmitted+c.Filter) }

// sane keeps what a lying peer can make of its numbers within 100 %.
func (r ratio) sane() ratio {
	r.lost = min(r.lost, r.sent)
	return r
}

// less subtracts; a number that went back, as loss does when a packet was only
// late, has not grown.
func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func counts(v *shard.View) [2]telemetry.Counts {
	return [2]telemetry.Counts{v.Ways[0].Counts, v.Ways[1].Counts}
}

func flows(v *shard.View) [2]shard.Flow {
	return [2]shard.Flow{telemetry.ToBackend: v.ToBackend, telemetry.ToCaller: v.ToCaller}
}

// begin makes a track of a session that was not followed. One that began after
// the last sample counts from its beginning.
func begin(v *shard.View, last time.Time) *track {
	if !last.IsZero() && !v.Begun.Before(last) {
		return &track{at: v.Begun}
	}
	return &track{at: v.Taken, flows: flows(v), media: counts(v)}
}

// follow takes a sample.
func (t *track) follow(v *shard.View, round uint64) {
	elapsed := v.Taken.Sub(t.at).Seconds()
	t.round = round
	if elapsed <= 0 {
		return
	}
	now, media := flows(v), counts(v)
	var grown [2]telemetry.Counts
	for way := range now {
		t.flow[way] = flowRate{
			bits:    float64(less(now[way].Bytes, t.flows[way].Bytes)) * 8 / elapsed,
			packets: float64(less(now[way].Packets, t.flows[way].Packets)) / elapsed,
		}
		a, b := &media[way], &t.media[way]
		grown[way] = telemetry.Counts{
			Packets: less(a.Packets, b.Packets), Retransmitted: less(a.Retransmitted, b.Retransmitted),
			Filter: less(a.Filter, b.Filter), LostBefore: less(a.LostBefore, b.LostBefore), LostBehind: less(a.LostBehind, b.LostBehind),
		}
	}
	t.caller, t.backend = sides(&grown)
	t.at, t.flows, t.media = v.Taken, now, media
}

// rest takes a second without media.
func (t *track) rest(now time.Time) {
	t.rates = rates{}
	t.at = now
}

// tick takes one sample of every session that carries media.
func (w *Watch) tick(ctx context.Context, now time.Time) error {
	w.round++
	clear(w.seconds)
	last := w.ticked
	since := last
	if since.IsZero() {
		since = now.Add(-step)
	}
	want := shard.Want{State: established, ActiveSince: since}
	if err := walk(ctx, w.group, w.views, want, w.sample); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, t := range w.tracks {
		switch idle := w.round - t.round; {
		case idle > idleRounds:
			delete(w.tracks, id)
		case idle > 0:
			t.rest(now)
		}
	}
	w.ticked = now
	w.remember(now)
	return nil
}

// sample takes a slice of the walk.
func (w *Watch) sample(views []shard.View) {
	w.mu.Lock()
	for i := range views {
		v := &views[i]
		t := w.tracks[v.ID]
		if t == nil {
			t = begin(v, w.ticked)
			w.tracks[v.ID] = t
		}
		t.follow(v, w.round)
		sum := w.seconds[v.Key]
		if sum == nil {
			sum = newSecond()
			w.seconds[v.Key] = sum
		}
		sum.add(v, &t.rates)
	}
	w.mu.Unlock()
	if w.observer != nil {
		for i := range views {
			w.observe(&views[i])
		}
	}
}

// observe tells the observer of one session's second.
func (w *Watch) observe(v *shard.View) {
	r := w.ratesOf(v.ID)
	caller, backend := legs(v)
	if caller != nil {
		w.observer.ObserveRTT(callerSide, caller.rtt.Seconds())
	}
	if backend != nil {
		w.observer.ObserveRTT(backendSide, backend.rtt.Seconds())
	}
	if r.caller.known() {
		w.observer.ObserveLoss(callerSide, r.caller.share())
	}
	if r.backend.known() {
		w.observer.ObserveLoss(backendSide, r.backend.share())
	}
}

// ratesOf returns the rates of the last second, zero for a session that
// carries no media.
func (w *Watch) ratesOf(id shard.SessionID) rates {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if t := w.tracks[id]; t != nil {
		return t.rates
	}
	return rates{}
}
