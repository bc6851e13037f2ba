//go:build linux

package live

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// Report is a server's answer to a command.
type Report struct {
	Error  string `json:"error,omitempty"`
	Listen string `json:"listen,omitempty"`
	Open   int    `json:"open"`
	// Accepted is sessions since the start.
	Accepted uint64 `json:"accepted"`
	// Sent to Reordered are data of all sessions since the start.
	Sent       uint64 `json:"sent"`
	Received   uint64 `json:"received"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Unsent     uint64 `json:"unsent"`
	// Sessions are the ledgers of the open ones, after "all" only.
	Sessions []Ledger `json:"sessions,omitempty"`
	// Ended are the ledgers of those that ended since the last report.
	Ended []Ledger `json:"ended,omitempty"`
}

// attempt identifies one connection attempt of a caller, as libsrt does.
type attempt struct {
	caller   socket.Address
	socketID uint32
	isn      uint32
}

// session is one accepted caller.
type session struct {
	flow
	attempt
	id uint32
}

// server is one listener and its sessions. It belongs to the goroutine that
// serves.
type server struct {
	config   ServerConfig
	clock    *socket.Clock
	ready    *socket.Ready
	in       *socket.Receiver
	out      *socket.Outbox
	fd       int
	jar      *handshake.CookieGenerator
	begun    int64
	now      int64
	byID     map[uint32]*session
	attempts map[attempt]*session
	all      []*session
	id       uint32
	silent   bool
	slow     bool
	held     []request // while slow
	report   Report
	ended    []Ledger
}

// request is a handshake that a slow server has not looked at yet.
type request struct {
	due  int64
	from socket.Address
	h    wire.Handshake
}

const (
	// slowness is how late a slow server looks at a handshake, of which a session takes two:
	// sooner than a relay gives up.
	slowness = 700 * int64(time.Millisecond)
	// maxHeld is how many handshakes wait for that at most.
	maxHeld = 1 << 16
)

func newServer(c ServerConfig) (*server, error) {
	local, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	var secret handshake.Secret
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand, Go 1.24)
	clock := socket.NewClock()
	ready, err := socket.NewReady()
	if err != nil {
		return nil, err
	}
	s := &server{
		config: c, clock: clock, ready: ready, in: socket.NewReceiver(clock, true, false), jar: handshake.NewCookieGenerator(secret),
		begun: clock.Now(), byID: map[uint32]*session{}, attempts: map[attempt]*session{}, id: mathrand.Uint32(), fd: -1,
	}
	if s.fd, err = socket.Open(socket.Options{Local: local, Buffer: c.Buffer}); err != nil {
		return nil, errors.Join(err, ready.Close())
	}
	s.out = socket.NewOutbox(s.fd, clock, srt.SentOffset)
	bound, err := socket.Local(s.fd)
	if err := errors.Join(err, ready.Add(s.fd, 0)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.report.Listen = bound.String()
	return s, nil
}

func (s *server) close() error { return errors.Join(s.ready.Close(), unix.Close(s.fd)) }

// turn does everything that is due, once, and waits for what comes next.
func (s *server) turn() {
	s.now = s.clock.Now()
	s.receive()
	s.release()
	sent := 0
	kept := s.all[:0]
	for _, ss := range s.all {
		if s.byID[ss.id] != ss {
			continue
		}
		s.visit(ss, &sent)
		if s.byID[ss.id] == ss {
			kept = append(kept, ss)
		}
	}
	clear(s.all[len(kept):])
	s.all = kept
	s.out.Flush()
	s.report.Unsent += s.out.TakeUnsent()
	if len(s.all)+len(s.held) > 0 {
		rest(s.clock, s.now)
		return
	}
	s.ready.Wait(10 * tick)
}

func (s *server) visit(ss *session, sent *int) {
	for *sent < burst && !s.silent && ss.pending(s.now) {
		*sent++
		ss.put(s.out.Next(), s.timestamp(), uint32(s.config.Number), s.now)
		s.out.Put(srt.DataSize, &ss.caller)
	}
	switch {
	case s.now-ss.heard > int64(s.config.Idle):
		s.end(ss, TimedOut)
	case s.now-ss.spoke >= keepAlive:
		ss.spoke = s.now
		s.out.Put(len(srt.PutKeepalive(s.out.Next(), ss.peer, s.timestamp())), &ss.caller)
	}
}

func (s *server) receive() {
	for {
		n := s.in.Receive(s.fd)
		for i := range n {
			b, _, _ := s.in.Message(i)
			s.handle(b, s.in.From(i))
		}
		if n < socket.ReceiveMessages {
			return
		}
		// For a server that was stopped, time has not passed until its backlog is
		// read.
		s.out.Flush()
	}
}

func (s *server) handle(b []byte, from *socket.Address) {
	if len(b) < wire.HeaderSize {
		return
	}
	p := wire.Packet(b)
	if p.DestID() == 0 {
		h, ok := wire.AsHandshake(b)
		switch {
		case !ok:
		case !s.slow:
			s.request(h, from)
		case len(s.held) < maxHeld:
			s.held = append(s.held, request{s.now + slowness, *from, slices.Clone(h)})
		}
		return
	}
	ss := s.byID[p.DestID()]
	if ss == nil || ss.caller != *from {
		return
	}
	over := ss.handle(p, s.timestamp(), s.now, func(write func([]byte) []byte) {
		s.out.Put(len(write(s.out.Next())), &ss.caller)
	})
	if over {
		s.end(ss, HungUp)
	}
}

// request handles what is addressed to the listener.
func (s *server) request(h wire.Handshake, from *socket.Address) {
	caller := from.AddrPort()
	now := time.Duration(s.now - s.begun)
	switch h.Type() {
	case wire.HandshakeInduction:
		cookie := s.jar.Generate(now, addr.From(caller))
		s.out.Put(len(handshake.AppendInductionReply(s.out.Next()[:0], h, cookie, 0, caller.Addr())), from)
	case wire.HandshakeConclusion:
		// As libsrt: a bad cookie gets no answer.
		if !handshake.Valid(h) || !s.jar.Check(now, addr.From(caller), h.Cookie()) {
			return
		}
		a := attempt{*from, h.SocketID(), h.ISN()}
		ss := s.attempts[a]
		if ss == nil {
			if ss = s.accept(a, h); ss == nil {
				s.out.Put(len(handshake.AppendRejection(s.out.Next()[:0], h, handshake.CodeBadRequest)), from)
				return
			}
		}
		response := srt.AppendResponse(s.out.Next()[:0], h, ss.id, caller.Addr())
		wire.Packet(response).SetTimestamp(s.timestamp())
		s.out.Put(len(response), from)
	}
}

// release looks at the handshakes that have waited.
func (s *server) release() {
	n := 0
	for ; n < len(s.held) && (s.held[n].due <= s.now || !s.slow); n++ {
		s.request(s.held[n].h, &s.held[n].from)
	}
	s.held = slices.Delete(s.held, 0, n)
}

// accept opens a session. It returns nil if the stream ID is invalid.
func (s *server) accept(a attempt, h wire.Handshake) *session {
	wish, err := srt.ReadRequest(srt.StreamIDOf(h))
	if err != nil {
		return nil
	}
	for s.id = (s.id + 1) & idMask; s.id == 0 || s.byID[s.id] != nil; {
		s.id = (s.id + 1) & idMask
	}
	ss := &session{flow: newFlow(a.socketID, a.socketID, a.isn, s.now), attempt: a, id: s.id}
	ss.ledger.Stream, ss.ledger.Server = wish.Stream, s.config.Number
	// The stream ID of an unknown caller must not make this server flood it.
	ss.pace(min(wish.Rate, maxRate), wish.Count, s.now)
	s.byID[ss.id], s.attempts[a] = ss, ss
	s.all = append(s.all, ss)
	s.report.Accepted++
	return ss
}

// maxRate is data packets per second of one session at most.
const maxRate = 1000

func (s *server) end(ss *session, why End) {
	ss.ledger.End, ss.ledger.At = why, s.now
	s.add(&s.report, ss.ledger)
	s.ended = append(s.ended, ss.ledger)
	delete(s.byID, ss.id)
	delete(s.attempts, ss.attempt)
}

func (*server) add(r *Report, l Ledger) {
	r.Sent += l.Sent
	r.Received += l.Received
	r.Lost += l.Lost
	r.Duplicated += l.Duplicated
	r.Reordered += l.Reordered
}

// execute executes a command and returns the answer.
func (s *server) execute(command string) (r Report, done bool) {
	switch command {
	case "look", "all":
	case "silence":
		s.silent = true
	case "speak":
		s.silent = false
		for _, ss := range s.all {
			ss.due = max(ss.due, s.now)
		}
	case "slow", "quick":
		s.slow = command == "slow"
	case "quit":
		done = true
	default:
		return Report{Error: fmt.Sprintf("%q: unknown command", command)}, false
	}
	r = s.report
	r.Open = len(s.byID)
	for _, ss := range s.all {
		if s.byID[ss.id] != ss {
			continue
		}
		s.add(&r, ss.ledger)
		if command == "all" {
			r.Sessions = append(r.Sessions, ss.ledger)
		}
	}
	slices.SortFunc(r.Sessions, func(a, b Ledger) int { return cmp.Compare(a.Caller, b.Caller) })
	r.Ended, s.ended = s.ended, nil
	return r, done
}

func (s *server) timestamp() uint32 { return uint32((s.now - s.begun) / 1000) }
