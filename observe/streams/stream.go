package streams

import "time"

// stream is the state of a stream between samples. The tracks of its sessions point to
// it, so that a key is looked up once per session.
type stream struct {
	history *history // nil if it has none
	// Used by Run only.
	now   second
	round uint32 // of now
}

// second returns the sample of a round; the first call of a round empties it.
func (s *stream) second(round uint32) *second {
	if s.round != round {
		s.now, s.round = unknown, round
	}
	return &s.now
}

// stream returns the stream of a key, and makes it if necessary. Called with mu held.
func (w *Watch) stream(key string) *stream {
	s := w.streams[key]
	if s == nil {
		s = new(stream)
		w.streams[key] = s
	}
	return s
}

// record stores the sample of every stream for a number of steps. It removes streams with
// neither history nor tracks: tracks end idleRounds after the last media. Called with mu
// held.
func (w *Watch) record(now time.Time, steps int) {
	w.leftOut = 0
	for key, s := range w.streams {
		if s.round == w.round {
			w.recordMedia(s, now, steps)
		} else if s.history != nil {
			w.recordSilence(s, now, steps)
		}
		if s.history == nil && w.round-s.round > idleRounds {
			delete(w.streams, key)
		}
	}
}

// recordMedia stores the sample of a stream with media.
func (w *Watch) recordMedia(s *stream, now time.Time, steps int) {
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

// recordSilence stores a sample without media, or removes an old history.
func (w *Watch) recordSilence(s *stream, now time.Time, steps int) {
	if now.Sub(s.history.last) < historyLength*step {
		s.history.put(&silent, steps)
		return
	}
	s.history = nil
	w.histories--
}
