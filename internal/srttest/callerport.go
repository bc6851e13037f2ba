package srttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"srtrelay/wire"
)

// CallerPort is one UDP port of a caller host and carries any number of SRT
// sockets, told apart by their own IDs. It is safe for use by several
// goroutines and runs one, its reader; sessions have none.
type CallerPort struct {
	conn   *net.UDPConn
	reader sync.WaitGroup

	mu       sync.RWMutex
	sessions map[uint32]*Session
	lastID   uint32
	closed   bool

	unknown, foreign, short atomic.Uint64
}

// PortStats counts datagrams that reached no session.
type PortStats struct {
	Unknown uint64 // no session has this destination ID
	Foreign uint64 // not from the address the session dialled
	Short   uint64 // less than a header
}

// libsrtIDs is the range in which libsrt starts; it counts down from there.
const libsrtIDs = 1<<30 - 1

// NewCallerPort opens a port; Close it.
func NewCallerPort(local netip.AddrPort) (*CallerPort, error) {
	conn, err := open(local)
	if err != nil {
		return nil, fmt.Errorf("caller port: %w", err)
	}
	p := &CallerPort{conn: conn, sessions: make(map[uint32]*Session), lastID: 1 + rand.Uint32N(libsrtIDs)}
	p.reader.Go(func() { receive(conn, p.dispatch) })
	return p, nil
}

// Addr is the port's own address.
func (p *CallerPort) Addr() netip.AddrPort { return localAddr(p.conn) }

// Stats returns the present counts.
func (p *CallerPort) Stats() PortStats {
	return PortStats{Unknown: p.unknown.Load(), Foreign: p.foreign.Load(), Short: p.short.Load()}
}

// SendRaw sends b to any address as it is.
func (p *CallerPort) SendRaw(to netip.AddrPort, b []byte) error { return writeTo(p.conn, b, to) }

// Sessions returns the sessions that are not closed.
func (p *CallerPort) Sessions() []*Session {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make([]*Session, 0, len(p.sessions))
	for _, s := range p.sessions {
		all = append(all, s)
	}
	return all
}

// Dial connects a new session. The error is a *Rejection, a *ProtocolError,
// or wraps ErrTimeout or the cause of ctx; the session is closed then, but
// returned so that a test can ask what it has Seen.
func (p *CallerPort) Dial(ctx context.Context, target netip.AddrPort, o CallerOptions) (*Session, error) {
	s, err := p.Open(target, o)
	if err != nil {
		return nil, err
	}
	return s, s.Connect(ctx)
}

// Open registers a session without sending anything.
func (p *CallerPort) Open(target netip.AddrPort, o CallerOptions) (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("caller port: %w", net.ErrClosed)
	}
	id := o.SocketID
	if id == 0 {
		id = p.freeID(o.Style)
	}
	if p.sessions[id] != nil {
		return nil, errors.New("caller port: socket ID is in use")
	}
	s := newSession(p, target, id, o)
	p.sessions[id] = s
	return s, nil
}

func (p *CallerPort) freeID(style Style) uint32 {
	for {
		id := rand.Uint32()
		if style != Gosrt {
			if p.lastID--; p.lastID == 0 {
				p.lastID = libsrtIDs
			}
			id = p.lastID
		}
		if id != 0 && p.sessions[id] == nil {
			return id
		}
	}
}

// Close ends the port and all its sessions, without a SHUTDOWN.
func (p *CallerPort) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := shut(p.conn)
	p.reader.Wait()
	for _, s := range p.Sessions() {
		s.Close()
	}
	return err
}

func (p *CallerPort) forget(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[s.id] == s {
		delete(p.sessions, s.id)
	}
}

func (p *CallerPort) dispatch(from netip.AddrPort, b []byte) {
	if len(b) < wire.HeaderSize {
		p.short.Add(1)
		return
	}
	s := p.lookup(wire.Packet(b).DestID())
	switch {
	case s == nil:
		p.unknown.Add(1)
	case from != s.peer:
		p.foreign.Add(1)
		s.noteForeign()
	default:
		s.receive(b)
	}
}

// lookup finds a packet's session. ID 0 is accepted by gosrt, which has a port
// for each socket.
func (p *CallerPort) lookup(id uint32) *Session {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s := p.sessions[id]; s != nil || id != 0 || len(p.sessions) != 1 {
		return s
	}
	for _, s := range p.sessions {
		if s.o.Style == Gosrt {
			return s
		}
	}
	return nil
}
