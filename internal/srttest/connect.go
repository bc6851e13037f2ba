package srttest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"srtrelay/wire"
)

// Connect sends the INDUCTION and sees the handshake through, repeating
// requests as the style does. A session that fails is closed.
func (s *Session) Connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.Timeout, ErrTimeout)
	defer cancel()
	if err := s.ResendInduction(); err != nil {
		s.Close()
		return fmt.Errorf("send INDUCTION: %w", err)
	}
	var again <-chan time.Time
	if period := s.o.Style.period(); period > 0 && !s.o.Manual {
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		again = ticker.C
	}
	for {
		select {
		case <-s.settled:
			err := s.handshakeError()
			if err != nil {
				s.port.forget(s)
			}
			return err
		case <-again:
			s.repeat()
		case <-ctx.Done():
			s.fail(fmt.Errorf("connect to %v: %w", s.peer, context.Cause(ctx)))
		}
	}
}

// handshakeError is nil for a session that connected, even if it ended since.
func (s *Session) handshakeError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.Response != nil {
		return nil
	}
	return s.err
}

func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != connected {
		s.end(err)
	}
}

// repeat sends the current request once more.
func (s *Session) repeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case inducting:
		s.sendInduction()
	case concluding:
		s.sendConclusion()
	case connected, ended:
	}
}

// ResendInduction sends an INDUCTION, whatever the phase.
func (s *Session) ResendInduction() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendInduction()
}

// ResendConclusion sends a CONCLUSION with the newest cookie, whatever the
// phase: same key material, fresh timestamp.
func (s *Session) ResendConclusion() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendConclusion()
}

// Induction is the INDUCTION that would be sent now.
func (s *Session) Induction() wire.Handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.induction()
}

// Conclusion is the CONCLUSION that would be sent now, with this cookie.
func (s *Session) Conclusion(cookie uint32) wire.Handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.conclusion()
	h.SetCookie(cookie)
	return h
}

func (s *Session) sendInduction() error {
	s.seen.InductionsSent++
	return s.send(s.induction(), s.peer)
}

func (s *Session) sendConclusion() error {
	s.seen.ConclusionsSent++
	return s.send(s.conclusion(), s.peer)
}

// request is what both requests have in common.
func (s *Session) request(t wire.HandshakeType) wire.Handshake {
	h := make(wire.Handshake, wire.HandshakeSize)
	wire.PutControl(h, wire.TypeHandshake, s.now(), 0)
	h.SetVersion(4)
	h.SetExtension(wire.UDTDgram)
	h.SetISN(s.isn)
	h.SetMSS(maxMSS)
	h.SetFlowWindow(defaultSpace)
	h.SetType(t)
	h.SetSocketID(s.id)
	h.SetPeerIP(s.peer.Addr())
	return h
}

func (s *Session) induction() wire.Handshake {
	h := s.request(wire.HandshakeInduction)
	if s.o.Style == Gosrt {
		h.SetISN(0)
	}
	return h
}

func (s *Session) conclusion() wire.Handshake {
	h := s.request(wire.HandshakeConclusion)
	h.SetCookie(s.cookie)
	h.SetVersion(s.o.Version)
	if s.o.Version < 5 {
		return h
	}
	s.prepare(false)
	h.SetEncryption(s.keyField())
	h.SetExtension(s.flags)
	return append(h, s.blocks...)
}

// prepare builds the extensions once, so that repeated requests carry the same
// key, or anew for gosrt.
func (s *Session) prepare(anew bool) {
	if s.blocks != nil && !anew {
		return
	}
	s.km = nil
	if s.o.KeyLen != 0 {
		s.km = keyMaterial(int(s.keyField()) * keyUnit)
	}
	s.blocks, s.flags = s.o.blocks(s.km)
	if s.blocks == nil {
		s.blocks = []byte{}
	}
}

// keyField is the encryption field of the CONCLUSION. Measured with libsrt
// 1.5.1: a caller without a passphrase repeats what was advertised as well.
func (s *Session) keyField() uint16 {
	advertised := s.seen.Encryption
	switch {
	case s.o.KeyLen > 0:
		return uint16(s.o.KeyLen / keyUnit)
	case s.o.KeyLen == 0 && s.o.Style == Gosrt:
		return 0
	case s.o.KeyLen == KeyLenAuto && advertised == 0:
		return 2
	}
	return advertised
}

// connecting takes a datagram before the session is established; mu is held.
func (s *Session) connecting(b []byte) {
	h, ok := wire.AsHandshake(b)
	switch {
	case !ok && wire.Packet(b).Is(wire.TypeHandshake):
		s.seen.Malformed++
	case !ok && wire.Packet(b).Is(wire.TypeShutdown) && s.phase == concluding:
		// As libsrt from 1.5.3; before, it repeated the CONCLUSION at once and
		// so started a storm.
		s.seen.Early++
		s.end(&Rejection{Code: uint32(closing)})
	case !ok:
		s.seen.Early++
		// CONN_CONFUSED of libsrt; a blocking connect has no such path.
		if s.phase == concluding && s.o.Style == LibsrtAsync && !s.o.Manual {
			s.sendConclusion()
		}
	case h.Type().IsRejection():
		s.seen.Rejections++
		s.end(&Rejection{Code: uint32(h.Type())})
	case h.MSS() > maxMSS:
		s.end(violation("MSS %d", h.MSS()))
	case h.Type() == wire.HandshakeInduction:
		s.inductionReply(h)
	case h.Type() == wire.HandshakeConclusion && (s.phase == concluding || s.o.Manual):
		s.response(h)
	default:
		s.seen.Unexpected++
	}
}

func (s *Session) inductionReply(h wire.Handshake) {
	if err := checkInductionReply(h); err != nil {
		s.end(err)
		return
	}
	s.phase = concluding
	s.adoptInduction(h)
}

// adoptInduction takes the cookie of an INDUCTION reply and concludes at once,
// each time, as libsrt and gosrt do.
func (s *Session) adoptInduction(h wire.Handshake) {
	s.seen.InductionReplies++
	s.seen.InductionReply, s.seen.InductionAt = slices.Clone(h), time.Now()
	s.seen.Cookie, s.seen.Encryption = h.Cookie(), h.Encryption()
	s.cookie = h.Cookie()
	s.prepare(s.o.Style == Gosrt)
	if !s.o.Manual {
		s.sendConclusion()
	}
}

func (s *Session) response(h wire.Handshake) {
	s.seen.Responses++
	if err := s.checkResponse(h); err != nil {
		s.end(err)
		return
	}
	s.seen.Response, s.seen.ResponseAt = slices.Clone(h), time.Now()
	s.seen.ResponseTimestamp = h.Packet().Timestamp()
	s.seen.ResponseISN, s.seen.PeerIP = h.ISN(), h.PeerIP()
	s.establish(h.SocketID(), s.isn)
	s.phase = connected
	close(s.settled)
}
