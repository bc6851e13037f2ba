package relays

import (
	"math/rand/v2"
	"time"

	"srtrelay/addr"
	"srtrelay/internal/tokenbucket"
)

const (
	// ownerTTL is for how long an owner is passed datagrams before it is asked for again,
	// in the background. It is used meanwhile.
	ownerTTL = 20 * time.Second
	// noneTTL is for how long Redis is not asked again about a flow that no relay has: a
	// session is published within a fraction of it.
	noneTTL = 1500 * time.Millisecond
	// otherCallerTTL is for how long the owner of a session with another caller address is
	// passed datagrams. If it moves the session to this address, it publishes that at once,
	// and the flow is limited until it is asked for again. So it is asked for otherCallerSoon
	// times as often as a flow is for which that did not help.
	otherCallerTTL      = 100 * time.Millisecond
	otherCallerSoon     = 10
	otherCallerLaterTTL = time.Second
	// awayTTL is when a question is asked again that Redis has not answered.
	awayTTL = 500 * time.Millisecond
	// doubtTTL is when a known owner is asked for again that Redis did not name this time,
	// as Redis may have lost its data.
	doubtTTL = 5 * time.Second
	// answerTimeout is after what time a question counts as lost.
	answerTimeout = 2 * time.Second
	// lateEvery is how often a full lane looks for lost questions, which takes 0.3 ms.
	lateEvery = 100 * time.Millisecond

	// maxKnown is how many flows a lane knows the owner of, or that there is none.
	maxKnown = 65536
	// maxPending is how many flows it waits for.
	maxPending = 8192
	// maxHeld is how many datagrams wait for their owner, maxHeldPerFlow of one flow: what
	// a stream sends within the time of an answer.
	maxHeld        = 512
	maxHeldPerFlow = 16

	// askRate and askBurst limit the questions of a lane: ten thousand sessions that a
	// router moves together have their owners within two seconds. One source may ask half
	// of that.
	askRate, askBurst             = 5000, 5000
	sourceAskRate, sourceAskBurst = askRate / 2, askBurst / 2
	// passRate and passBurst limit the datagrams that a lane passes on: 500 Mbit/s of them.
	passRate, passBurst = 50_000, 10_000
	// otherCallerRate limits those of sessions with another caller address, which anybody
	// can forge who knows an ID.
	otherCallerRate, otherCallerBurst = 500, 500
	// askSources is the number of buckets that sources share.
	askSources = 256
	// victims is how many flows are compared to find one to forget.
	victims = 8
)

// Lane is a shard's part in passing datagrams on. It belongs to the shard's loop, except
// for its ring.
type Lane struct {
	link *Link
	post func(func(now time.Duration)) bool

	known   map[Flow]known
	pending map[Flow]*pending
	heldAll int
	lateAt  time.Duration // when lost questions are looked for again
	free    [][]byte

	asks, passes, otherCallers tokenbucket.Bucket
	bySource                   []tokenbucket.Bucket
	seed                       uint64
	ring                       ring
}

// known is what a lane knows of a flow.
type known struct {
	owner  addr.AddrPort // zero: no relay has it
	exact  bool          // the session has this caller
	doubt  bool          // the owner was not found once
	others uint8         // answers in a row that the session has another caller, up to otherCallerSoon
	until  time.Duration // when to ask again
	usedAt time.Duration
}

// pending is a flow whose owner is being asked for.
type pending struct {
	asked time.Duration
	held  []held
}

// held is a datagram that waits for its owner.
type held struct {
	local   addr.IP
	data    []byte
	unowned func(data []byte) // gets it if no relay is its owner; nil to drop it
}

func newLane(link *Link, post func(func(now time.Duration)) bool) *Lane {
	l := &Lane{
		link: link, post: post, known: make(map[Flow]known), pending: make(map[Flow]*pending), seed: rand.Uint64(),
		asks:         tokenbucket.New(askRate, askBurst),
		passes:       tokenbucket.New(passRate, passBurst),
		otherCallers: tokenbucket.New(otherCallerRate, otherCallerBurst),
		bySource:     make([]tokenbucket.Bucket, askSources),
	}
	for i := range l.bySource {
		l.bySource[i] = tokenbucket.New(sourceAskRate, sourceAskBurst)
	}
	return l
}

// Pass decides what becomes of a datagram that is of no session of this relay, and copies
// it if it goes to another one.
func (l *Lane) Pass(now time.Duration, f Flow, local addr.IP, data []byte) Outcome {
	if f.Caller.Zone != 0 || len(data) > maxData {
		return OutcomeUnknown // a link-local address is another host's elsewhere
	}
	k, isKnown := l.known[f]
	if !isKnown {
		k, isKnown = l.ownerOfHandshake(now, f)
	}
	switch {
	case !isKnown || !k.owner.IsValid() && now >= k.until:
		return l.hold(now, f, held{local: local, data: data})
	case !k.owner.IsValid():
		return OutcomeUnknown
	case now >= k.until && l.ask(now, f):
		k.until = now + answerTimeout
	}
	k.usedAt = now
	l.known[f] = k
	return l.send(now, f, k, local, data)
}

// HasOwner reports whether another relay is known to have the session of a flow's caller.
func (l *Lane) HasOwner(f Flow) bool {
	k := l.known[f]
	return k.exact && k.owner.IsValid()
}

// send copies a datagram into the ring.
func (l *Lane) send(now time.Duration, f Flow, k known, local addr.IP, data []byte) Outcome {
	limit := &l.passes
	if !k.exact {
		limit = &l.otherCallers
	}
	if !limit.Take(now) || !l.ring.put(k.owner, Datagram{Caller: f.Caller, Local: local, Listener: f.Listener, Data: data}) {
		return OutcomeLimited
	}
	l.link.wakeSender()
	return OutcomePassed
}

// hold keeps a copy of a datagram until its owner is known, and asks for the owner.
func (l *Lane) hold(now time.Duration, f Flow, h held) Outcome {
	p := l.pending[f]
	if p != nil && now-p.asked >= answerTimeout {
		l.drop(f, p)
		p = nil
	}
	if p == nil {
		if len(l.pending) >= maxPending && now >= l.lateAt {
			l.lateAt = now + lateEvery
			l.dropLate(now)
		}
		if len(l.pending) >= maxPending || !l.ask(now, f) {
			return OutcomeLimited
		}
		p = &pending{asked: now}
		l.pending[f] = p
	}
	if len(p.held) >= maxHeldPerFlow || l.heldAll >= maxHeld {
		return OutcomeLimited
	}
	l.heldAll++
	h.data = append(l.buffer(), h.data...)
	p.held = append(p.held, h)
	return OutcomeHeld
}

// buffer returns memory for a held datagram.
func (l *Lane) buffer() []byte {
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, maxData)
}

// ask asks the link for the owner of a flow, if there are not too many questions.
func (l *Lane) ask(now time.Duration, f Flow) bool {
	source := addr.AddrPort{IP: f.Caller.IP}
	if !source.Is4() {
		clear(source.IP[8:])
	}
	return l.bySource[source.Hash(l.seed)%askSources].Take(now) && l.asks.Take(now) && l.link.ask(question{l, f})
}

// answer notes the owner of a flow, and sends what waits for it.
func (l *Lane) answer(now time.Duration, f Flow, o Owner, err error) {
	k := l.updated(now, f, o, err)
	l.remember(now, f, k)
	p := l.pending[f]
	if p == nil {
		return
	}
	delete(l.pending, f) // before unowned looks at it
	for len(p.held) > 0 {
		switch h := &p.held[0]; {
		case k.owner.IsValid() && l.send(now, f, k, h.local, h.data) == OutcomePassed:
		case !k.owner.IsValid() && h.unowned != nil:
			h.unowned(h.data)
		default:
			l.link.counters.add(DropUnowned, 1)
		}
		l.release(p)
	}
}

// updated returns what is known of a flow after an answer.
func (l *Lane) updated(now time.Duration, f Flow, o Owner, err error) known {
	k := l.known[f]
	switch {
	case f.ID == 0 && err == nil && o.At.IsValid() && o.Exact:
		return known{owner: o.At, exact: true, until: now + conclusionTTL}
	case f.ID == 0 && err == nil:
		return known{until: now + noneTTL}
	case f.ID == 0:
		return known{until: now + awayTTL}
	case err != nil && k.owner.IsValid():
		k.until = now + doubtTTL // Redis is away, and known owners go on
	case err != nil:
		k.until = now + awayTTL
	case o.At.IsValid() && o.Exact:
		k = known{owner: o.At, exact: true, until: now + ownerTTL}
	case k.owner.IsValid() && k.exact && !k.doubt:
		k.doubt, k.until = true, now+doubtTTL
	case o.At.IsValid() && k.others < otherCallerSoon:
		k = known{owner: o.At, others: k.others + 1, until: now + otherCallerTTL}
	case o.At.IsValid():
		k = known{owner: o.At, others: k.others, until: now + otherCallerLaterTTL}
	default:
		k = known{until: now + noneTTL}
	}
	return k
}

// remember stores what is known of a flow, in place of another one if there are too many.
func (l *Lane) remember(now time.Duration, f Flow, k known) {
	k.usedAt = now
	if _, has := l.known[f]; !has && len(l.known) >= maxKnown {
		l.forgetOne(now)
	}
	l.known[f] = k
}

// forgetOne forgets one of a few flows: one that has no owner, or else the one that was
// used longest ago. A map is iterated from a random place on.
func (l *Lane) forgetOne(now time.Duration) {
	var victim Flow
	worst, seen := time.Duration(-1), 0
	for f, k := range l.known {
		age := now - k.usedAt
		if !k.owner.IsValid() {
			age += time.Hour
		}
		if age > worst {
			victim, worst = f, age
		}
		if seen++; seen == victims {
			break
		}
	}
	delete(l.known, victim)
}

// drop drops what still waits for the owner of a flow.
func (l *Lane) drop(f Flow, p *pending) {
	l.link.counters.add(DropUnowned, uint64(len(p.held)))
	for len(p.held) > 0 {
		l.release(p)
	}
	delete(l.pending, f)
}

// dropLate drops the flows whose question was lost.
func (l *Lane) dropLate(now time.Duration) {
	for f, p := range l.pending {
		if now-p.asked >= answerTimeout {
			l.drop(f, p)
		}
	}
}

// release gives back the memory of the first held datagram.
func (l *Lane) release(p *pending) {
	l.free = append(l.free, p.held[0].data)
	p.held = p.held[1:]
	l.heldAll--
}
