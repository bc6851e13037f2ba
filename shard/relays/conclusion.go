package relays

import (
	"time"

	"srtrelay/addr"
)

const (
	// conclusionTTL is for how long the relay that has taken a CONCLUSION gets its copies: three
	// or four of libsrt's, which are 250 ms apart. A caller whose relay has died then still has
	// the time to connect here. conclusionRest is for how long Redis is not asked again.
	conclusionTTL  = time.Second
	conclusionRest = 10 * time.Second
)

// PassConclusion is Pass for a CONCLUSION that may repeat one that another relay has taken. Its
// flow has the ID 0. After OutcomeHeld unowned is called if no other relay has taken one: with a
// copy that is valid until it returns, and it may call PassConclusion again. After other outcomes
// than OutcomePassed the handshake is this relay's.
func (l *Lane) PassConclusion(now time.Duration, f Flow, local addr.IP, data []byte, unowned func(data []byte)) Outcome {
	if f.Caller.Zone != 0 || len(data) > maxData {
		return OutcomeUnknown
	}
	k, isKnown := l.known[f]
	switch {
	case !isKnown || now >= k.forgotten():
		return l.hold(now, f, held{local, data, unowned})
	case !k.owner.IsValid() || now >= k.until:
		return OutcomeUnknown
	}
	k.usedAt = now
	l.known[f] = k
	return l.send(now, f, k, local, data)
}

// forgotten is when nothing is known of a handshake any more.
func (k *known) forgotten() time.Duration {
	if k.owner.IsValid() {
		return k.until + conclusionRest
	}
	return k.until
}

// ownerOfHandshake returns the owner of a flow of which nothing is known, but that its caller's
// CONCLUSION went to another relay: that one publishes the session a moment later.
func (l *Lane) ownerOfHandshake(now time.Duration, f Flow) (k known, isKnown bool) {
	h := l.known[Flow{Caller: f.Caller, Listener: f.Listener}]
	if !h.owner.IsValid() || now >= h.forgotten() {
		return known{}, false
	}
	k = known{owner: h.owner, exact: true, until: now + noneTTL}
	l.remember(now, f, k)
	return k, true
}
