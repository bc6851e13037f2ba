package streams

import (
	"slices"
	"time"
)

// stream is the state of a stream between samples. The tracks of its sessions point to
// it, so that a key is looked up once per session.
type stream struct {
	key     string
	history *history // nil if it has none
	// Used by Run only.
	now   second
	round uint32 // of now
}

// streamSet holds streams by key, and in a list: to go through a map of many takes longer
// than the samples do. The zero streamSet is empty.
type streamSet struct {
	byKey map[string]*stream
	list  []*stream
}

// add makes the stream of a key that has none.
func (ss *streamSet) add(key string) *stream {
	if ss.byKey == nil {
		ss.byKey = make(map[string]*stream)
	}
	s := &stream{key: key}
	ss.byKey[key] = s
	ss.list = append(ss.list, s)
	return s
}

// deleteFunc removes the streams for which gone returns true.
func (ss *streamSet) deleteFunc(gone func(*stream) bool) {
	ss.list = slices.DeleteFunc(ss.list, func(s *stream) bool {
		if !gone(s) {
			return false
		}
		delete(ss.byKey, s.key)
		return true
	})
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
	if s := w.streams.byKey[key]; s != nil {
		return s
	}
	return w.streams.add(key)
}

// record stores the sample of every stream for a number of steps. It removes streams with
// neither history nor tracks: tracks end idleRounds after the last media. Called with mu
// held.
func (w *Watch) record(now time.Time, steps int) {
	w.leftOut = 0
	w.streams.deleteFunc(func(s *stream) bool {
		if s.round == w.round {
			w.recordMedia(s, now, steps)
		} else if s.history != nil {
			w.recordSilence(s, now, steps)
		}
		return s.history == nil && w.round-s.round > idleRounds
	})
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
