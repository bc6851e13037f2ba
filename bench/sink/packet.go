//go:build linux

package sink

import (
	"time"

	"srtrelay/addr"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// arrival is one datagram.
type arrival struct {
	b    []byte
	at   int64 // when the kernel got it
	from *socket.Address
}

// handle handles a datagram that came to a port.
func (s *Sink) handle(port int, a arrival) {
	if len(a.b) < wire.HeaderSize {
		s.book.Received.Add(tally.Other, len(a.b))
		s.book.Unknown++
		return
	}
	p := wire.Packet(a.b)
	if p.DestID() == 0 {
		s.book.Received.Add(tally.Other, len(a.b))
		s.handleRequest(port, a)
		return
	}
	ss := s.table.find(p.DestID())
	if ss == nil {
		s.book.Received.Add(tally.Other, len(a.b))
		s.book.Unknown++
		return
	}
	if ss.caller != *a.from || int(ss.port) != port {
		s.book.Received.Add(tally.Other, len(a.b))
		s.book.Foreign++
		return
	}
	ss.lastReceived = s.now
	if p.IsControl() {
		s.control(ss, p)
		return
	}
	s.data(ss, p, a.at)
}

func (s *Sink) data(ss *session, p wire.Packet, at int64) {
	due := s.book.ReceiveData(&ss.receiver, p, at)
	if due.NAK {
		s.reply(ss, tally.NAK, srt.PutNAK(s.next(ss), ss.peer, s.timestamp(), due.First, due.Last))
	}
	if due.ACK {
		s.reply(ss, tally.ACK, srt.PutACK(s.next(ss), ss.peer, s.timestamp(), due.Number, due.Next))
	}
}

func (s *Sink) control(ss *session, p wire.Packet) {
	if number := s.book.ReceiveControl(p); number != 0 {
		s.reply(ss, tally.ACKACK, srt.PutACKACK(s.next(ss), ss.peer, s.timestamp(), number))
	}
	if p.Control() == wire.TypeShutdown {
		s.forget(ss)
	}
}

func (s *Sink) forget(ss *session) {
	s.streams.dirty = s.streams.dirty || ss.play
	s.table.remove(ss)
}

// handleRequest handles what is addressed to the listener.
func (s *Sink) handleRequest(port int, a arrival) {
	h, ok := wire.AsHandshake(a.b)
	if !ok {
		s.book.Unknown++
		return
	}
	caller := a.from.AddrPort()
	now := time.Duration(s.now - s.begun)
	switch h.Type() {
	case wire.HandshakeInduction:
		cookie := s.jar.Generate(now, addr.From(caller))
		s.answer(port, a.from, handshake.AppendInductionReply(s.out[port].Next()[:0], h, cookie, 0, caller.Addr()))
	case wire.HandshakeConclusion:
		// As libsrt: a bad cookie gets no answer.
		if !handshake.Valid(h) || !s.jar.Check(now, addr.From(caller), h.Cookie()) {
			s.book.Failed++
			return
		}
		ss := s.table.known(attempt{*a.from, h.SocketID(), h.ISN()})
		if ss == nil {
			if ss = s.accept(port, a, h); ss == nil {
				return
			}
		}
		response := srt.AppendResponse(s.out[port].Next()[:0], h, ss.id, caller.Addr())
		wire.Packet(response).SetTimestamp(s.timestamp())
		s.answer(port, a.from, response)
	default:
		s.book.Unknown++
	}
}

// accept opens a session. It returns nil if the stream ID is invalid.
func (s *Sink) accept(port int, a arrival, h wire.Handshake) *session {
	s.book.Attempted++
	asked, err := srt.ReadRequest(srt.StreamIDOf(h))
	if err != nil {
		s.book.Failed++
		s.answer(port, a.from, handshake.AppendRejection(s.out[port].Next()[:0], h, handshake.CodeBadRequest))
		return nil
	}
	ss := s.table.add(attempt{*a.from, h.SocketID(), h.ISN()})
	if ss == nil {
		s.book.Failed++
		s.answer(port, a.from, handshake.AppendRejection(s.out[port].Next()[:0], h, handshake.CodeBacklog))
		return nil
	}
	ss.port, ss.lastReceived, ss.play, ss.rate = uint16(port), s.now, asked.Play, asked.Rate
	s.streams.dirty = s.streams.dirty || asked.Play
	if asked.Keepalive > 0 && asked.Keepalive != s.keepalive {
		s.setKeepalive(asked.Keepalive)
	}
	s.book.Completed++
	return ss
}

// next is where an answer in a session is written; reply sends it.
func (s *Sink) next(ss *session) []byte { return s.out[ss.port].Next() }

func (s *Sink) reply(ss *session, kind tally.Kind, b []byte) {
	ss.sent = true
	s.book.Sent.Add(kind, len(b))
	s.out[ss.port].Put(len(b), &ss.caller)
}

// answer sends a handshake that was written into the port's outbox.
func (s *Sink) answer(port int, to *socket.Address, b []byte) {
	s.book.Sent.Add(tally.Other, len(b))
	s.out[port].Put(len(b), to)
}

// push sends the next data packet to a player.
func (s *Sink) push(ss *session, index uint32, due int64) {
	// The payload behind the stamp is whatever the buffer held.
	ss.source.Put(s.next(ss)[:srt.DataSize], ss.peer, s.timestamp(), index, 0, due)
	ss.sent = true
	s.book.Sent.Add(tally.Data, srt.DataSize)
	s.out[ss.port].PutTimed(srt.DataSize, &ss.caller, due)
}

// timestamp is that of a packet of this turn.
func (s *Sink) timestamp() uint32 { return uint32((s.now - s.begun) / 1000) }
