package streams

// Observer takes the quality of the sessions that carry media, at each sample
// of each and many at a time; side is caller or backend. The calls come from
// one goroutine, and the values are lent for the time of a call.
type Observer interface {
	ObserveRTT(side string, seconds ...float64)
	ObserveLoss(side string, ratios ...float64)
}

// The sides of a session, as an Observer hears them.
const (
	callerSide  = "caller"
	backendSide = "backend"
)

// heard is the quality of a slice of sessions, to be told together. It keeps
// its room from one slice to the next.
type heard struct {
	callerRTT, backendRTT, callerLoss, backendLoss []float64
}

// add takes one session's second.
func (h *heard) add(r *rates, caller, backend roundTrip) {
	if caller.known {
		h.callerRTT = append(h.callerRTT, caller.rtt.Seconds())
	}
	if backend.known {
		h.backendRTT = append(h.backendRTT, backend.rtt.Seconds())
	}
	if r.caller.known() {
		h.callerLoss = append(h.callerLoss, r.caller.share())
	}
	if r.backend.known() {
		h.backendLoss = append(h.backendLoss, r.backend.share())
	}
}

// tell tells all of it, once.
func (h *heard) tell(o Observer) {
	lent := *h
	*h = heard{h.callerRTT[:0], h.backendRTT[:0], h.callerLoss[:0], h.backendLoss[:0]}
	if o != nil {
		o.ObserveRTT(callerSide, lent.callerRTT...)
		o.ObserveRTT(backendSide, lent.backendRTT...)
		o.ObserveLoss(callerSide, lent.callerLoss...)
		o.ObserveLoss(backendSide, lent.backendLoss...)
	}
}
