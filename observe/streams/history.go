package streams

import (
	"math"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
)

const (
	// historyLength is how many samples a history has: two minutes. A stream without
	// media for so long loses its history.
	historyLength = answer.MaxHistory
	// historySize is the memory of a history: its samples, in a size class of 3 KiB,
	// and the stream's key, struct and map entry.
	historySize = 3072 + 128
	// historyBudget is the memory of all histories.
	historyBudget = 32 << 20
	maxHistories  = historyBudget / historySize
)

// The values of a sample, by index.
const (
	bitrateIn = iota
	bitrateOut
	callerRTT
	backendRTT
	callerLoss
	backendLoss
	values
)

// second is a stream's sample. Unknown values are NaN.
type second [values]float32

var nan = float32(math.NaN())

// unknown has no values; silent is a second without media.
var (
	unknown = second{nan, nan, nan, nan, nan, nan}
	silent  = second{0, 0, nan, nan, nan, nan}
)

// add adds a session's rates, and keeps the worst RTT and loss.
func (s *second) add(publish bool, r *rates, caller, backend roundTrip) {
	if publish {
		s.plus(bitrateIn, r.flow[telemetry.ToBackend].bits)
	} else {
		s.plus(bitrateOut, r.flow[telemetry.ToCaller].bits)
	}
	if caller.known {
		s.worst(callerRTT, millis(caller.rtt))
	}
	if backend.known {
		s.worst(backendRTT, millis(backend.rtt))
	}
	if r.caller.known() {
		s.worst(callerLoss, 100*r.caller.share())
	}
	if r.backend.known() {
		s.worst(backendLoss, 100*r.backend.share())
	}
}

func (s *second) plus(k int, x float32) {
	if isNaN(s[k]) {
		s[k] = 0
	}
	s[k] += x
}

func (s *second) worst(k int, x float64) {
	if isNaN(s[k]) || s[k] < float32(x) {
		s[k] = float32(x)
	}
}

func isNaN(x float32) bool { return x != x }

// history is one stream's last two minutes.
type history struct {
	ring [historyLength]second
	at   int // the next sample's place
	n    int
	last time.Time // when it last carried media
}

// put stores a sample for a number of steps.
func (h *history) put(s *second, steps int) {
	for range steps {
		h.ring[h.at] = *s
		h.at = (h.at + 1) % historyLength
	}
	h.n = min(h.n+steps, historyLength)
}

// complete sets the bitrate of a way without sessions to 0.
func (s *second) complete() *second {
	s.plus(bitrateIn, 0)
	s.plus(bitrateOut, 0)
	return s
}

// historyOf returns the last n seconds of a stream's history at most, nil if it has none.
func (w *Watch) historyOf(key string, n int) *answer.History {
	w.mu.RLock()
	defer w.mu.RUnlock()
	one := w.streams.byKey[key]
	if one == nil || one.history == nil || n <= 0 {
		return nil
	}
	h := one.history
	n = min(n, h.n)
	lists := [values][]*float64{}
	for k := range lists {
		lists[k] = make([]*float64, n)
	}
	room := make([]float64, n*values)
	for i := range n {
		s := &h.ring[(h.at-n+i+historyLength)%historyLength]
		for k, x := range s {
			if p := &room[i*values+k]; !isNaN(x) {
				*p = float64(x)
				lists[k][i] = p
			}
		}
	}
	return &answer.History{
		StepSeconds: int(step / time.Second), End: w.ticked,
		BitrateIn: lists[bitrateIn], BitrateOut: lists[bitrateOut],
		CallerRTT: lists[callerRTT], BackendRTT: lists[backendRTT],
		CallerLoss: lists[callerLoss], BackendLoss: lists[backendLoss],
	}
}
