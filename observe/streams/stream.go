package streams

import "time"

// stream is what is remembered of a stream from one second to the next. Its
// sessions' tracks point to it, so that their keys are looked up when they
// begin and never again.
type stream struct {
	history *history // nil if it has none
	// Run's alone.
	now   second
	round uint32 // of now
}

// second returns the sum of a round, in which nobody has been added yet when
// it is asked for first.
func (s *stream) second(round uint32) *second {
	if s.round != round {
		s.now, s.round = unknown, round
	}
	return &s.now
}

// stream finds one by its key, or makes it. Called with mu held.
func (w *Watch) stream(key string) *stream {
	s := w.streams[key]
	if s == nil {
		s = new(stream)
		w.streams[key] = s
	}
	return s
}

// remember gives every stream its sample, which stands for a number of steps, and
// forgets the streams that have neither history nor tracks: a track is never younger than
// its stream's last media. Called with mu held.
func (w *Watch) remember(now time.Time, steps int) {
	w.leftOut = 0
	for key, s := range w.streams {
		if s.round == w.round {
			w.keep(s, now, steps)
		} else if s.history != nil {
			w.silence(s, now, steps)
		}
		if s.history == nil && w.round-s.round > idleRounds {
			delete(w.streams, key)
		}
	}
}

// keep takes a sample with media.
func (w *Watch) keep(s *stream, now time.Time, steps int) {
	if s.history == nil {
		if w.histories >= maxHistories {
			w.leftOut++
			return
		}
		s.history = new(history)
		w.histories++
		steps = 1
	}
	s.history.put(s.now.complete(), steps)
	s.history.last = now
}

// silence takes a sample without media.
func (w *Watch) silence(s *stream, now time.Time, steps int) {
	if now.Sub(s.history.last) < historyLength*step {
		s.history.put(&silent, steps)
		return
	}
	s.history = nil
	w.histories--
}
