package overload

import (
	"fmt"
	"time"
)

// ShardSample is what one shard has counted.
type ShardSample struct {
	// Sessions are in any state, HalfOpen those whose handshake is not complete.
	Sessions, HalfOpen uint64
	// Received counts the datagrams that came by the shard's sockets, and Dropped those
	// that the kernel dropped there. Forwarded are those of Received that were of a session.
	Received, Dropped, Forwarded uint64
	// Working is the time in which the loop did not wait for datagrams, until now: also that
	// of a turn that has not ended.
	Working time.Duration
}

// Caps are the caps of one shard.
type Caps struct{ Sessions, HalfOpen int }

const (
	// dropsFull is the share of dropped datagrams that is pressure 1: SRT repairs less
	// within its usual latency, and what it repairs makes the flood larger.
	dropsFull = 0.05
	// dropsLeast is how many datagrams of a window the share is computed from, at least: a
	// few lost ones of a few say nothing.
	dropsLeast = 1000
	// dropsSamples are over how many samples drops are counted, which is 2 s: the shards read
	// the kernel's count once per second.
	dropsSamples = int(2 * time.Second / Every)
	// windowSamples are over how many samples is counted what was received, which is a second
	// more: a count of drops that has been read comes from before, when a flood may have ended
	// since.
	windowSamples = dropsSamples + int(time.Second/Every)
)

// floodMost is the most pressure that drops and turns make while most of what comes is of no
// session. Refusing callers would not end a flood of datagrams, and would do what the flood
// is meant to do: so it does not reach StepPlayers. The same holds for a storm of callers, which the
// shards give no more time than sessions leave.
var floodMost = enterAt[StepPlayers] - 2*settled

// Sampler makes readings of what the shards have counted. It keeps their last samples, and
// belongs to one goroutine. The zero Sampler is ready for use.
type Sampler struct {
	at      time.Duration                // of the newest samples
	samples [windowSamples][]ShardSample // one after the other
	count   int
}

// Sample reads the samples of all shards at a time into readings.
func (s *Sampler) Sample(now time.Duration, shards []ShardSample, caps Caps, to *Readings) {
	var sessions, halfOpen uint64
	for i := range shards {
		sessions += shards[i].Sessions
		halfOpen += shards[i].HalfOpen
	}
	to[InputSessions] = share(sessions, caps.Sessions*len(shards), "sessions")
	to[InputHandshakes] = share(halfOpen, caps.HalfOpen*len(shards), "half-open handshakes")
	to[InputDrops], to[InputTurns] = Reading{Detail: "not read twice yet"}, Reading{Detail: "not read twice yet"}
	last, oldest := s.ago(1), s.ago(windowSamples)
	if len(shards) > 0 && len(last) == len(shards) && len(oldest) == len(shards) && now > s.at {
		to[InputTurns] = turns(last, oldest, shards, now-s.at)
		to[InputDrops] = drops(s.ago(dropsSamples), oldest, shards, s.windows())
	}
	s.samples[s.count%windowSamples] = append(s.samples[s.count%windowSamples][:0], shards...)
	s.count++
	s.at = now
}

// ago returns the samples of so many calls ago, or the first ones; nil if there are none.
func (s *Sampler) ago(n int) []ShardSample {
	if n = min(n, s.count); n == 0 {
		return nil
	}
	return s.samples[(s.count-n)%windowSamples]
}

// windows returns how long the time of dropsSamples is against that of windowSamples.
func (s *Sampler) windows() float64 {
	return float64(min(dropsSamples, s.count)) / float64(min(windowSamples, s.count))
}

// share is the reading of what has a cap. The shards' caps are added: a caller may come to
// any of them.
func share(n uint64, limit int, of string) Reading {
	if limit <= 0 {
		return Reading{Detail: "no limit of " + of}
	}
	return Reading{Pressure: float64(n) / float64(limit), Known: true, Detail: fmt.Sprintf("%d of %d %s", n, limit, of)}
}

// drops is the reading of the shard of which the kernel has dropped the largest share: since
// the samples before, of what came since the oldest in a time so much shorter.
func drops(before, oldest, now []ShardSample, shorter float64) Reading {
	worst, at := 0.0, 0
	for i := range now {
		lost := float64(grown(now[i].Dropped, before[i].Dropped))
		all := lost + shorter*float64(grown(now[i].Received, oldest[i].Received))
		if part := lost / max(all, dropsLeast); part > worst {
			worst, at = part, i
		}
	}
	if worst == 0 {
		return Reading{Known: true, Detail: "none dropped by the kernel"}
	}
	return Reading{
		Pressure: worst / dropsFull, Known: true,
		Detail: fmt.Sprintf("the kernel dropped %.2f %% of what came to shard %d", 100*worst, at),
	}.inFlood(&oldest[at], &now[at])
}

// inFlood limits the reading of a shard if most of what came to it between two samples was
// of no session.
func (r Reading) inFlood(before, now *ShardSample) Reading {
	received, forwarded := grown(now.Received, before.Received), grown(now.Forwarded, before.Forwarded)
	if received >= dropsLeast && forwarded < received/2 {
		r.Pressure = min(r.Pressure, floodMost)
		r.Detail += ", most of it of no session"
	}
	return r
}

// turns is the reading of the shard whose loop has worked most of the time since the samples
// before. oldest are those of a window ago.
func turns(before, oldest, now []ShardSample, elapsed time.Duration) Reading {
	worst, at := 0.0, 0
	for i := range now {
		if part := (now[i].Working - before[i].Working).Seconds() / elapsed.Seconds(); part > worst {
			worst, at = min(part, 1), i
		}
	}
	return Reading{
		Pressure: beyondHalf(worst), Known: true,
		Detail: fmt.Sprintf("shard %d works %.0f %% of the time", at, 100*worst),
	}.inFlood(&oldest[at], &now[at])
}

// beyondHalf is the pressure of what is harmless while half of it is free: 0 up to 0.5, and
// 1 at 1. So StepTelemetry is entered at 90 %.
func beyondHalf(used float64) float64 { return max(2*used-1, 0) }

// grown is the growth of a counter, 0 if it has begun anew.
func grown(now, before uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}
