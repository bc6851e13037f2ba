//go:build linux

package load

import (
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
	"srtrelay/wire"
)

// handle handles a datagram that came to a port.
func (l *Load) handle(port int, b []byte, at int64) {
	if len(b) < wire.HeaderSize {
		l.unknown(b)
		return
	}
	p := wire.Packet(b)
	i := (p.DestID() - l.base) % uint32(len(l.sessions))
	s := &l.sessions[i]
	if s.id != p.DestID() || int(s.port) != port {
		l.unknown(b)
		return
	}
	if h, ok := wire.AsHandshake(b); ok {
		l.book.Received.Add(tally.Other, len(b))
		l.handleHandshake(int(i), h)
		return
	}
	if s.phase != connected {
		l.unknown(b)
		return
	}
	if p.IsControl() {
		l.control(s, p)
		return
	}
	l.data(s, p, at)
}

func (l *Load) unknown(b []byte) {
	l.book.Received.Add(tally.Other, len(b))
	l.book.Unknown++
}

func (l *Load) data(s *session, p wire.Packet, at int64) {
	due := l.book.ReceiveData(&s.receiver, p, at)
	if due.NAK {
		l.send(s, tally.NAK, srt.PutNAK(l.buffer, s.peer, l.timestamp(), due.First, due.Last))
	}
	if due.ACK {
		l.send(s, tally.ACK, srt.PutACK(l.buffer, s.peer, l.timestamp(), due.Number, due.Next))
	}
}

func (l *Load) control(s *session, p wire.Packet) {
	if number := l.book.ReceiveControl(p); number != 0 {
		l.send(s, tally.ACKACK, srt.PutACKACK(l.buffer, s.peer, l.timestamp(), number))
	}
	if p.Control() == wire.TypeShutdown {
		s.phase = ended
		l.open--
		l.hungUp++
	}
}

// send sends a datagram of a session.
func (l *Load) send(s *session, kind tally.Kind, b []byte) {
	s.sent = true
	l.book.Sent.Add(kind, len(b))
	if l.path != nil {
		l.frames.PutFrame(copy(l.frames.Next(), b), &l.ports[s.port].head, 0)
		return
	}
	if !socket.Send(l.ports[s.port].fd, b) {
		l.book.Unsent++
	}
}

// publish sends the next data packet of a session, or the next train of them.
func (l *Load) publish(i int, due int64) {
	s := &l.sessions[i]
	if l.path != nil {
		s.sent = true
		s.source.Put(l.frames.Next(), s.peer, l.timestamp(), uint32(i), 0, due)
		l.book.Sent.Add(tally.Data, srt.DataSize)
		l.frames.PutFrame(srt.DataSize, &l.ports[s.port].head, due)
		return
	}
	s.sent = true
	now := l.clock.Now()
	for b := l.payload; len(b) > 0; b = b[srt.DataSize:] {
		s.source.Put(b, s.peer, uint32((now-l.begun)/1000), uint32(i), now, due)
		l.book.Sent.Add(tally.Data, srt.DataSize)
		l.book.Lag(now - due)
	}
	if !socket.Send(l.ports[s.port].fd, l.payload) {
		l.book.Unsent += uint64(l.config.Train)
	}
}

// timestamp is that of a control packet of this turn.
func (l *Load) timestamp() uint32 { return uint32((l.now - l.begun) / 1000) }
