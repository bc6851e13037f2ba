//go:build linux

package load

import (
	"math/rand/v2"
	"time"

	"srtrelay/bench/pace"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
	"srtrelay/wire"
)

const (
	// retryAfter is how libsrt's asynchronous callers repeat.
	retryAfter = int64(250 * time.Millisecond)
	// lookEvery is how often handshakes under way are looked at for retries.
	lookEvery = int64(5 * time.Millisecond)
)

// connector makes handshakes: so many at once, at a limited rate. It belongs
// to the loop.
type connector struct {
	limit    int
	unpaced  bool
	plan     pace.Plan // of the beginnings, unless unpaced
	backlog  int       // beginnings that were due while too many were under way
	underWay []uint32  // indexes of sessions
	free     []uint32  // sessions to begin, last first
	looked   int64
}

// beginConnects begins what is due and may be begun.
func (l *Load) beginConnects(now int64) {
	c := &l.connector
	for !c.unpaced {
		_, _, ok := c.plan.Next(now)
		if !ok {
			break
		}
		c.backlog++
	}
	for len(c.free) > 0 && len(c.underWay) < c.limit && (c.unpaced && l.connecting || c.backlog > 0) {
		if !c.unpaced {
			c.backlog--
		}
		i := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.underWay = append(c.underWay, i)
		l.begin(int(i))
	}
}

// begin sends a session's INDUCTION.
func (l *Load) begin(i int) {
	s := &l.sessions[i]
	now := l.clock.Now()
	s.id = l.nextID(s.id)
	s.isn = rand.Uint32N(srt.MaxSequence)
	s.begun, s.due, s.phase = now, now+retryAfter, inducting
	s.receiver, s.source = tally.NewReceiver(s.isn, s.id), srt.NewSource(s.isn)
	l.book.Attempted++
	l.handshake(i)
}

// nextID gives a session another socket ID that still tells its index.
func (l *Load) nextID(id uint32) uint32 {
	next := id + uint32(len(l.sessions))
	if next-l.base >= idRange {
		next = l.base + (id-l.base)%uint32(len(l.sessions))
	}
	return next
}

// handshake sends, or sends again, what the session's phase wants.
func (l *Load) handshake(i int) {
	s := &l.sessions[i]
	b := l.buffer[:0]
	peer := l.ports[s.port].peer.Addr()
	if s.phase == inducting {
		b = srt.AppendInduction(b, s.id, s.isn, peer)
	} else {
		b = srt.AppendConclusion(b, s.id, s.isn, s.cookie, peer, l.wish(i).StreamID())
	}
	wire.Packet(b).SetTimestamp(l.timestamp())
	l.send(s, tally.Other, b)
}

// look repeats handshakes that got no answer, and gives up old ones.
func (l *Load) look(now int64) {
	c := &l.connector
	if now-c.looked < lookEvery {
		return
	}
	c.looked = now
	kept := c.underWay[:0]
	for _, i := range c.underWay {
		s := &l.sessions[i]
		switch {
		case s.phase != inducting && s.phase != concluding:
			continue
		case now-s.begun >= int64(l.config.Timeout):
			l.fail(int(i))
			continue
		case now >= s.due:
			s.due = now + retryAfter
			l.book.Repeated++
			l.handshake(int(i))
		}
		kept = append(kept, i)
	}
	c.underWay = kept
}

// settled takes a session out of those under way.
func (c *connector) settled(i uint32) {
	for k, u := range c.underWay {
		if u == i {
			last := len(c.underWay) - 1
			c.underWay[k] = c.underWay[last]
			c.underWay = c.underWay[:last]
			return
		}
	}
}

func (l *Load) fail(i int) {
	l.book.Failed++
	l.sessions[i].phase = ended
	if l.config.Mode == Connects {
		l.connector.free = append(l.connector.free, uint32(i))
	}
}

// answered takes a handshake addressed to session i.
func (l *Load) answered(i int, h wire.Handshake) {
	s := &l.sessions[i]
	switch {
	case s.phase == inducting && h.Type() == wire.HandshakeInduction && h.Version() == 5 && h.Extension() == wire.MagicCode:
		s.cookie, s.phase, s.due = h.Cookie(), concluding, l.now+retryAfter
		l.handshake(i)
	case (s.phase == inducting || s.phase == concluding) && h.Type().IsRejection():
		l.connector.settled(uint32(i))
		l.book.Reject(uint32(h.Type()))
		l.fail(i)
	case s.phase == concluding && srt.Accepted(h) && h.ISN() == s.isn:
		l.connector.settled(uint32(i))
		s.peer, s.phase, s.spoke = h.SocketID(), connected, true
		l.book.Connect(l.clock.Now() - s.begun)
		if l.config.Mode == Connects {
			l.hangUp(i)
			return
		}
		l.open++
	case s.phase == concluding && h.Type() == wire.HandshakeInduction:
		// The cookie has expired, or this is a copy: libsrt concludes again at
		// once. A copy of what it has is no reason.
		if h.Cookie() != s.cookie {
			s.cookie = h.Cookie()
			l.handshake(i)
		}
	}
}

// hangUp ends a session by a SHUTDOWN and lets it begin again.
func (l *Load) hangUp(i int) {
	s := &l.sessions[i]
	l.send(s, tally.Other, srt.PutShutdown(l.buffer, s.peer, l.timestamp()))
	s.phase = ended
	l.connector.free = append(l.connector.free, uint32(i))
}
