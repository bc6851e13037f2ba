package srttest

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"srtrelay/wire"
)

// Session is one SRT socket of a caller. It belongs to its CallerPort, whose
// reader feeds it; all methods may be called from any goroutine.
//
//	inducting -> concluding -> connected -> ended
type Session struct {
	endpoint
	port *CallerPort
	id   uint32
	o    CallerOptions
	isn  uint32

	// Under endpoint.mu from here on.
	phase   phase
	cookie  uint32
	km      []byte
	blocks  []byte
	flags   uint16
	seen    Seen
	err     error
	settled chan struct{} // closed when the handshake succeeded or failed
	recv    chan []byte
}

type phase int

const (
	inducting phase = iota
	concluding
	connected
	ended
)

// Seen is what a session saw of its handshake and beside it.
type Seen struct {
	InductionsSent, ConclusionsSent int

	InductionReplies int
	InductionReply   []byte // the newest
	InductionAt      time.Time
	Cookie           uint32
	Encryption       uint16 // as advertised, in units of 8 bytes

	Responses         int    // CONCLUSION responses, repeated ones included
	Response          []byte // the first
	ResponseAt        time.Time
	ResponseTimestamp uint32
	ResponseISN       uint32
	PeerIP            netip.Addr // in the response
	Features          wire.Features
	GroupID           uint32 // the mirror group's
	StreamID          string // sent back by gosrt

	Rejections int
	Early      int // packets other than handshakes before the response
	Malformed  int // handshakes of less than 64 bytes
	Unexpected int // handshakes of the wrong type or out of phase
	Foreign    int // for this ID, from another address
	Overflowed int // packets that did not fit into Recv
}

func newSession(p *CallerPort, target netip.AddrPort, id uint32, o CallerOptions) *Session {
	o.fill()
	s := &Session{port: p, id: id, o: o, isn: o.ISN, settled: make(chan struct{})}
	if s.isn == 0 {
		s.isn = rand.Uint32N(sequenceMask)
	}
	if o.RecvBuffer > 0 {
		s.recv = make(chan []byte, o.RecvBuffer)
	}
	s.init(netip.AddrPortFrom(target.Addr().Unmap(), target.Port()), p.send)
	s.start = s.start.Add(-o.Age)
	s.echoKeepalives = o.Style == Gosrt
	return s
}

func (p *CallerPort) send(b []byte, to netip.AddrPort) error { return writeTo(p.conn, b, to) }

// ID is the session's own socket ID.
func (s *Session) ID() uint32 { return s.id }

// ISN is the initial sequence number of both directions.
func (s *Session) ISN() uint32 { return s.isn }

// Target is the address that was dialled.
func (s *Session) Target() netip.AddrPort { return s.peer }

// Port is the port that carries the session.
func (s *Session) Port() *CallerPort { return s.port }

// Seen returns what the session has seen so far.
func (s *Session) Seen() Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Err says why the session ended or did not connect; nil while it lives.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Recv delivers copies of the established session's packets, if there is a
// RecvBuffer. It is never closed; see Done.
func (s *Session) Recv() <-chan []byte { return s.recv }

// Close takes the session off its port. It sends nothing; see SendShutdown.
func (s *Session) Close() {
	s.port.forget(s)
	s.mu.Lock()
	s.end(ErrClosed)
	s.mu.Unlock()
	s.notifier.Notify()
}

// end ends the session, once. Called with mu held.
func (s *Session) end(err error) {
	if s.phase == ended {
		return
	}
	if s.phase != connected {
		close(s.settled)
	}
	s.phase, s.err = ended, err
	s.finish()
}

func (s *Session) noteForeign() {
	s.mu.Lock()
	s.seen.Foreign++
	s.mu.Unlock()
	s.notifier.Notify()
}

// receive handles one datagram from the port's reader; b is borrowed.
func (s *Session) receive(b []byte) {
	defer s.notifier.Notify()
	s.mu.Lock()
	established := s.phase == connected
	switch s.phase {
	case inducting, concluding:
		s.connecting(b)
	case connected:
		s.established(b)
	case ended: // a libsrt socket that was shut down answers nothing
	}
	s.mu.Unlock()
	if established && s.o.OnPacket != nil {
		s.o.OnPacket(s, b)
	}
}

func (s *Session) established(b []byte) {
	h, isHandshake := wire.AsHandshake(b)
	switch {
	case isHandshake && h.Type() == wire.HandshakeConclusion && s.o.Style == Gosrt:
		s.seen.Responses++
		s.end(ErrRepeatedResponse)
		return
	case isHandshake && h.Type() == wire.HandshakeConclusion:
		s.seen.Responses++
	case isHandshake && h.Type() == wire.HandshakeInduction && s.o.Style == Gosrt:
		s.counters.Handshakes++
		s.adoptInduction(h) // gosrt concludes again, even now
		return
	case isHandshake && h.Type() == wire.HandshakeInduction:
		s.seen.InductionReplies++
	}
	s.book(b)
	if s.isDone {
		s.end(ErrShutdown)
	}
	if s.recv == nil {
		return
	}
	select {
	case s.recv <- slices.Clone(b):
	default:
		s.seen.Overflowed++
	}
}
