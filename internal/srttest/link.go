package srttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// clientLimit bounds a Link's sockets: one per client.
const clientLimit = 8192

// LinkConfig has the addresses and the impairments of a Link.
type LinkConfig struct {
	Listen netip.AddrPort // port 0 picks one; see Link.Addr
	Target netip.AddrPort // may be of the other address family
	Up     Impairment
	Down   Impairment
	Seed   uint64 // each client's luck follows from Seed and the order of first arrival
	Hook   Hook
	// Within, if not nil, calls what opens a socket, such as in a network namespace.
	Within func(open func() error) error
}

// Link is a lossy UDP path: it forwards datagrams between any number of
// clients and one target, each client from a port of its own, until Rebind. It is
// safe for use by several goroutines, and runs one per client's port and two more.
type Link struct {
	target    netip.AddrPort
	front     *net.UDPConn
	within    func(func() error) error
	seed      uint64
	ways      [2]way
	scheduler *scheduler
	notifier  Notifier

	hook   atomic.Pointer[Hook]
	hookMu sync.Mutex // a hook's own variables need no lock

	mu      sync.Mutex
	clients map[netip.AddrPort]*client
	closed  bool
	readers sync.WaitGroup
}

// client is one source address and the socket that stands for it upstream.
type client struct {
	back     atomic.Pointer[net.UDPConn]
	former   []*net.UDPConn // under Link.mu: those from before Rebind, which nobody reads
	up, down lane
}

// NewLink opens a Link; Close it.
func NewLink(cfg LinkConfig) (*Link, error) {
	within := cfg.Within
	if within == nil {
		within = func(open func() error) error { return open() }
	}
	front, err := openWithin(within, cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &Link{
		target: netip.AddrPortFrom(cfg.Target.Addr().Unmap(), cfg.Target.Port()), front: front, within: within, seed: cfg.Seed,
		scheduler: newScheduler(),
		clients:   make(map[netip.AddrPort]*client),
	}
	l.ways[Down].dir = Down
	l.Impair(Up, cfg.Up)
	l.Impair(Down, cfg.Down)
	l.SetHook(cfg.Hook)
	l.readers.Go(func() { receive(front, l.fromClient) })
	return l, nil
}

// openWithin is open elsewhere.
func openWithin(within func(func() error) error, local netip.AddrPort) (conn *net.UDPConn, err error) {
	err = within(func() (err error) {
		conn, err = open(local)
		return err
	})
	return conn, err
}

// Addr returns the address to which clients send.
func (l *Link) Addr() netip.AddrPort { return localAddr(l.front) }

// Impair changes a direction. Packets already under way keep their fate.
func (l *Link) Impair(d Direction, imp Impairment) { l.ways[d].impairment.Store(&imp) }

// SetHook replaces the hook; nil removes it.
func (l *Link) SetHook(h Hook) {
	if h == nil {
		l.hook.Store(nil)
		return
	}
	l.hook.Store(&h)
}

// Stats returns the present counts of one direction.
func (l *Link) Stats(d Direction) LinkStats { return l.ways[d].stats() }

// Await returns when cond holds, which it checks after each forwarded datagram, or when ctx
// ends.
func (l *Link) Await(ctx context.Context, cond func() bool) error {
	return l.notifier.Await(ctx, cond)
}

// ClientPort returns the local address from which a client's datagrams are sent to the
// target.
func (l *Link) ClientPort(from netip.AddrPort) (addr netip.AddrPort, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.clients[from]
	if !ok {
		return addr, false
	}
	return localAddr(c.back.Load()), true
}

// Rebind gives every client another port towards the target, as a NAT box does that has lost
// its bindings: what the target sends to the old port is lost.
func (l *Link) Rebind() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("link: rebind: %w", net.ErrClosed)
	}
	for _, c := range l.clients {
		// It stays open: a NAT box does not answer by ICMP.
		c.former = append(c.former, c.back.Load())
		if err := l.bind(c); err != nil {
			return fmt.Errorf("link: rebind: %w", err)
		}
	}
	return nil
}

// Release sends all datagrams that are held back in a direction.
func (l *Link) Release(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		lane := &c.up
		if d == Down {
			lane = &c.down
		}
		lane.release(func(heldPacket) bool { return true })
	}
}

// Close ends the Link and drops what is held or delayed.
func (l *Link) Close() error {
	l.mu.Lock()
	l.closed = true
	err := shut(l.front)
	for _, c := range l.clients {
		shut(c.back.Load())
		for _, former := range c.former {
			shut(former)
		}
	}
	l.mu.Unlock()
	l.readers.Wait()
	l.scheduler.close()
	return err
}

func (l *Link) ask(d Direction, b []byte) Action {
	h := l.hook.Load()
	if h == nil {
		return Pass
	}
	l.hookMu.Lock()
	defer l.hookMu.Unlock()
	return (*h)(d, b)
}

func (l *Link) fromClient(from netip.AddrPort, b []byte) {
	c := l.client(from)
	if c == nil {
		l.ways[Up].received.Add(1)
		l.ways[Up].overflowed.Add(1)
		return
	}
	c.up.arrive(b)
	l.notifier.Notify()
}

// client finds or makes the client; nil if there are too many, or at the end.
func (l *Link) client(from netip.AddrPort) *client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.clients[from]; ok {
		return c
	}
	if l.closed || len(l.clients) >= clientLimit {
		return nil
	}
	n := uint64(len(l.clients))
	c := &client{}
	c.up.link, c.down.link = l, l
	c.up.way, c.down.way = &l.ways[Up], &l.ways[Down]
	c.up.rng, c.down.rng = rand.New(rand.NewPCG(l.seed, 2*n)), rand.New(rand.NewPCG(l.seed, 2*n+1))
	c.up.write = func(b []byte) error { return writeTo(c.back.Load(), b, l.target) }
	c.down.write = func(b []byte) error { return writeTo(l.front, b, from) }
	if l.bind(c) != nil {
		return nil
	}
	l.clients[from] = c
	return c
}

// bind opens a client's upstream socket and reads it. The socket is not connected: a
// connected one reports the ICMP of an earlier datagram by not sending the next.
func (l *Link) bind(c *client) error {
	wildcard := netip.IPv4Unspecified()
	if l.target.Addr().Is6() {
		wildcard = netip.IPv6Unspecified()
	}
	back, err := openWithin(l.within, netip.AddrPortFrom(wildcard, 0))
	if err != nil {
		return err
	}
	c.back.Store(back)
	l.readers.Go(func() {
		receive(back, func(source netip.AddrPort, b []byte) {
			if source == l.target && c.back.Load() == back { // a path has two ends
				c.down.arrive(b)
				l.notifier.Notify()
			}
		})
	})
	return nil
}

func writeTo(conn *net.UDPConn, b []byte, to netip.AddrPort) error {
	_, err := conn.WriteToUDPAddrPort(b, to)
	return err
}
