package srttest

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/wire"
)

// ListenerConfig is the settings of a Listener that do not change; Behaviour has the others.
type ListenerConfig struct {
	Local   netip.AddrPort // port 0 picks one; see Listener.Addr
	Latency uint16         // ms; 0 = 120
	// Gosrt behaves like gosrt's listener: a bad cookie is answered with wire
	// 1004, connections are keyed by the caller's socket ID alone, a repeated
	// CONCLUSION is dropped silently, and the response brings the SID back.
	Gosrt bool
	Mode  Mode
	// Rate, PayloadSize and Limit belong to Source: packets per second and
	// connection (0 = 100), bytes (0 = 1316), packets in all (0 = no end).
	Rate, PayloadSize, Limit int
	// Observe sees every datagram that arrives, before anything else; b is
	// borrowed. Calls never overlap; it must not close the Listener.
	Observe func(from netip.AddrPort, b []byte)
}

// Listener is a fake backend on one UDP socket. It is safe for use by several
// goroutines and runs two: its reader, and an scheduler for what comes later.
type Listener struct {
	Behaviour
	cfg       ListenerConfig
	conn      *net.UDPConn
	other     *net.UDPConn // for AnswerFromOtherPort
	start     time.Time
	seed      maphash.Seed
	scheduler *scheduler
	notifier  Notifier
	reader    sync.WaitGroup
	mode      atomic.Int32
	stop      sync.Once

	stats struct {
		datagrams, dropped, unknown, inductions, conclusions atomic.Uint64
		badCookies, rejected, ignored, repeated              atomic.Uint64
	}

	// answering is held for a whole handshake: the reader and the scheduler must
	// not both accept one caller.
	answering sync.Mutex

	mu       sync.RWMutex
	live     map[route]*Connection
	accepted map[origin]*Connection // live ones by what a repeated CONCLUSION shows
	all      []*Connection
	groups   map[uint32]uint32 // peer's group ID to our mirror
	lastID   uint32
	log      []Handshake
}

// route is how an established packet finds its connection.
type route struct {
	source netip.AddrPort
	id     uint32
}

// origin identifies the author of a CONCLUSION: gosrt looks at the ID alone.
type origin struct {
	source  netip.AddrPort
	id, isn uint32
}

// Handshake is one handshake addressed to the listening socket, in the order
// of arrival, answered or not.
type Handshake struct {
	At     time.Time
	From   netip.AddrPort
	Packet wire.Handshake
}

// ListenerStats counts datagrams and verdicts on handshakes.
type ListenerStats struct {
	Datagrams   uint64 // all that arrived
	Dropped     uint64 // by DropFirst or Silent
	Unknown     uint64 // no connection has this source and destination ID
	Inductions  uint64
	Conclusions uint64
	BadCookies  uint64
	Rejected    uint64
	Ignored     uint64 // malformed, of the wrong type, or silent on request
	Repeated    uint64 // CONCLUSIONs of connections that exist
}

// logLimit bounds what is kept of handshakes: the first ones.
const logLimit = 4096

// NewListener opens a Listener; Close it.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	conn, err := open(cfg.Local)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	other, err := open(netip.AddrPortFrom(cfg.Local.Addr(), 0))
	if err != nil {
		shut(conn)
		return nil, fmt.Errorf("listener: %w", err)
	}
	if cfg.Latency == 0 {
		cfg.Latency = defaultDelay
	}
	if cfg.Rate == 0 {
		cfg.Rate = 100
	}
	if cfg.PayloadSize == 0 {
		cfg.PayloadSize = 1316
	}
	l := &Listener{
		cfg: cfg, conn: conn, other: other, start: time.Now(), seed: maphash.MakeSeed(),
		scheduler: newScheduler(),
		live:      make(map[route]*Connection), accepted: make(map[origin]*Connection),
		groups: make(map[uint32]uint32), lastID: 1 + rand.Uint32N(libsrtIDs),
	}
	l.mode.Store(int32(cfg.Mode))
	l.reader.Go(func() { receive(conn, l.dispatch) })
	return l, nil
}

// Addr returns the address to which callers send.
func (l *Listener) Addr() netip.AddrPort { return localAddr(l.conn) }

// SetMode changes the mode of all connections, old and new.
func (l *Listener) SetMode(m Mode) {
	l.mode.Store(int32(m))
	if m != Source {
		return
	}
	for _, c := range l.Connections() {
		c.startSource()
	}
}

// Stats returns the present counts.
func (l *Listener) Stats() ListenerStats {
	s := &l.stats
	return ListenerStats{
		Datagrams: s.datagrams.Load(), Dropped: s.dropped.Load(), Unknown: s.unknown.Load(),
		Inductions: s.inductions.Load(), Conclusions: s.conclusions.Load(),
		BadCookies: s.badCookies.Load(), Rejected: s.rejected.Load(),
		Ignored: s.ignored.Load(), Repeated: s.repeated.Load(),
	}
}

// Connections returns all connections that were accepted and not forgotten, the oldest
// first.
func (l *Listener) Connections() []*Connection {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.all)
}

// Count returns the number of these connections.
func (l *Listener) Count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.all)
}

// Live returns the number of open connections.
func (l *Listener) Live() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.live)
}

// Forget drops ended connections and the log, for tests that run long.
func (l *Listener) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = nil
	l.all = slices.DeleteFunc(l.all, func(c *Connection) bool {
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	})
}

// Handshakes returns the log of handshakes, up to logLimit.
func (l *Listener) Handshakes() []Handshake {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.log)
}

// Await returns when cond holds, which it checks after each datagram, or when ctx ends.
func (l *Listener) Await(ctx context.Context, cond func() bool) error {
	return l.notifier.Await(ctx, cond)
}

// AwaitConnections returns the connections as soon as there are n.
func (l *Listener) AwaitConnections(ctx context.Context, n int) ([]*Connection, error) {
	err := l.Await(ctx, func() bool { return l.Count() >= n })
	return l.Connections(), err
}

// SendShutdown ends one connection from this side.
func (l *Listener) SendShutdown(c *Connection) error {
	err := c.SendShutdown()
	l.remove(c)
	return err
}

// Kill closes the socket at once, as a crash does: the kernel answers with
// ICMP port unreachable from now on.
func (l *Listener) Kill() {
	l.stop.Do(func() {
		shut(l.conn)
		shut(l.other)
		l.reader.Wait()
		l.scheduler.close()
	})
}

// Close sends a SHUTDOWN to every live connection, unless Silent, and ends.
func (l *Listener) Close() error {
	if !l.silent.Load() {
		l.mu.RLock()
		live := make([]*Connection, 0, len(l.live))
		for _, c := range l.live {
			live = append(live, c)
		}
		l.mu.RUnlock()
		for _, c := range live {
			c.SendShutdown() // after Kill the socket is closed, and that is fine
		}
	}
	l.Kill()
	return nil
}

func (l *Listener) send(b []byte, to netip.AddrPort) error {
	if l.otherPort.Load() {
		return writeTo(l.other, b, to)
	}
	return writeTo(l.conn, b, to)
}

func (l *Listener) now() uint32 { return uint32(time.Since(l.start).Microseconds()) }
