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
	// retryAfter is the interval of retries, as of libsrt's asynchronous callers.
	retryAfter = int64(250 * time.Millisecond)
	// checkEvery is how often pending handshakes are checked for retries.
	checkEvery = int64(5 * time.Millisecond)
)

// connector makes handshakes, of which limit are pending at once. Only the loop uses it.
type connector struct {
	limit   int
	unpaced bool
	plan    pace.Plan // of the beginnings, unless unpaced
	backlog int       // beginnings that were due while too many were under way
	pending []uint32  // indexes of sessions
	free    []uint32  // sessions to begin, last first
	checked int64
}

// beginConnects begins the handshakes that are due, up to the limit.
func (l *Load) beginConnects(now int64) {
	c := &l.connector
	for !c.unpaced {
		_, _, ok := c.plan.Next(now)
		if !ok {
			break
		}
		c.backlog++
	}
	for len(c.free) > 0 && len(c.pending) < c.limit && (c.unpaced && l.connecting || c.backlog > 0) {
		if !c.unpaced {
			c.backlog--
		}
		i := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.pending = append(c.pending, i)
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
	s.receiver, s.source = tally.NewReceiver(s.isn, s.id, srt.ACKEvery), srt.NewSource(s.isn)
	l.book.Attempted++
	l.handshake(i)
}

// nextID returns another socket ID of the same session: its index can be read off it.
func (l *Load) nextID(id uint32) uint32 {
	next := id + uint32(len(l.sessions))
	if next-l.base >= idRange {
		next = l.base + (id-l.base)%uint32(len(l.sessions))
	}
	return next
}

// handshake sends the INDUCTION or the CONCLUSION, by the session's phase.
func (l *Load) handshake(i int) {
	s := &l.sessions[i]
	b := l.buffer[:0]
	peer := l.ports[s.port].peer.Addr()
	if s.phase == inducting {
		b = srt.AppendInduction(b, s.id, s.isn, peer)
	} else {
		b = srt.AppendConclusion(b, s.id, s.isn, s.cookie, peer, l.requestOf(i).StreamID())
	}
	wire.Packet(b).SetTimestamp(l.timestamp())
	l.send(s, tally.Other, b)
}

// retryHandshakes repeats handshakes without an answer, and gives up old ones.
func (l *Load) retryHandshakes(now int64) {
	c := &l.connector
	if now-c.checked < checkEvery {
		return
	}
	c.checked = now
	kept := c.pending[:0]
	for _, i := range c.pending {
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
	c.pending = kept
}

// removePending removes a session from the pending ones.
func (c *connector) removePending(i uint32) {
	for k, u := range c.pending {
		if u == i {
			last := len(c.pending) - 1
			c.pending[k] = c.pending[last]
			c.pending = c.pending[:last]
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

// handleHandshake handles a handshake that is addressed to session i.
func (l *Load) handleHandshake(i int, h wire.Handshake) {
	s := &l.sessions[i]
	switch {
	case s.phase == inducting && h.Type() == wire.HandshakeInduction && h.Version() == 5 && h.Extension() == wire.MagicCode:
		s.cookie, s.phase, s.due = h.Cookie(), concluding, l.now+retryAfter
		l.handshake(i)
	case (s.phase == inducting || s.phase == concluding) && h.Type().IsRejection():
		l.connector.removePending(uint32(i))
		l.book.Reject(uint32(h.Type()))
		l.fail(i)
	case s.phase == concluding && srt.Accepted(h) && h.ISN() == s.isn:
		l.connector.removePending(uint32(i))
		s.peer, s.phase, s.sent = h.SocketID(), connected, true
		l.book.Connect(l.clock.Now() - s.begun)
		if l.config.Mode == Connects {
			l.hangUp(i)
			return
		}
		l.open++
	case s.phase == concluding && h.Type() == wire.HandshakeInduction:
		// The cookie has expired: libsrt sends the CONCLUSION again at once. A
		// copy of the response that it has changes nothing.
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
