package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// MaxConnections is how many connections the API has open at most: its 64
// readers of events, the captures, a few scrapers and pages. Each holds a
// descriptor, which the data path needs too.
const MaxConnections = 256

// Connections bounds and counts the API's connections. One that comes while
// there are too many, or too many of its source, takes the place of the one
// that has been idle longest; with none idle it is closed. A connection is idle
// until it has sent the whole header of a request, and again between two
// requests; feeds and captures are not. Any goroutine may use it.
type Connections struct {
	most, perSource, lasting int

	mu       sync.Mutex
	open     map[*conn]struct{}
	sources  map[netip.Prefix]int
	replaced uint64
	refused  uint64
}

// conn is one connection. Connections' lock guards its fields.
type conn struct {
	net.Conn
	of     *Connections
	source netip.Prefix
	idle   bool
	since  time.Time // when it became idle
	closed bool
}

// NewConnections allows for most connections, of which one source (an IPv4
// address or an IPv6 /64) may have half, and half may be feeds and captures,
// so that one of neither kind can shut all others out.
func NewConnections(most int) *Connections {
	half := max(most/2, 1)
	return &Connections{
		most: max(most, 1), perSource: half, lasting: half,
		open: map[*conn]struct{}{}, sources: map[netip.Prefix]int{},
	}
}

// ConnectionCounts are what has become of connections.
type ConnectionCounts struct {
	Open int // at present
	// Replaced were idle and made room for newer ones, Refused found no room.
	Replaced, Refused uint64
}

// Counts returns the present counts.
func (c *Connections) Counts() ConnectionCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConnectionCounts{Open: len(c.open), Replaced: c.replaced, Refused: c.refused}
}

// admit takes a new connection in, or closes it and returns nil.
func (c *Connections) admit(raw net.Conn) net.Conn {
	n := &conn{Conn: raw, of: c, source: sourceOf(raw.RemoteAddr()), idle: true, since: time.Now()}
	c.mu.Lock()
	full, crowded := len(c.open) >= c.most, c.sources[n.source] >= c.perSource
	var out *conn
	if full || crowded {
		out = c.oldestIdle(func(o *conn) bool { return !crowded || o.source == n.source })
	}
	switch {
	case out != nil:
		c.forget(out)
		c.replaced++
	case full || crowded:
		c.refused++
		c.mu.Unlock()
		_ = raw.Close()
		return nil
	}
	c.open[n] = struct{}{}
	c.sources[n.source]++
	c.mu.Unlock()
	if out != nil {
		_ = out.Conn.Close()
	}
	return n
}

// oldestIdle finds which connection has been idle longest, nil for none. Locked.
func (c *Connections) oldestIdle(fits func(*conn) bool) (oldest *conn) {
	for o := range c.open {
		if o.idle && fits(o) && (oldest == nil || o.since.Before(oldest.since)) {
			oldest = o
		}
	}
	return oldest
}

// forget gives a connection's place back. Locked.
func (c *Connections) forget(n *conn) {
	if n.closed {
		return
	}
	n.closed = true
	delete(c.open, n)
	if c.sources[n.source]--; c.sources[n.source] == 0 {
		delete(c.sources, n.source)
	}
}

// track implements http.Server's ConnState.
func (c *Connections) track(raw net.Conn, state http.ConnState) {
	n, ok := raw.(*conn)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive:
		n.idle = false
	case http.StateIdle:
		n.idle, n.since = true, time.Now()
	}
}

// Close implements net.Conn.
func (n *conn) Close() error {
	n.of.mu.Lock()
	n.of.forget(n)
	n.of.mu.Unlock()
	return n.Conn.Close()
}

// CloseWrite is what net/http ends a connection with whose request it has not
// read to the end: without it the client would lose the answer.
// It then waits half a second for the client to close, and from now on gives way
// before all others.
func (n *conn) CloseWrite() error {
	n.of.mu.Lock()
	n.idle, n.since = true, time.Time{}
	n.of.mu.Unlock()
	if half, ok := n.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// boundedListener accepts what Connections has room for.
type boundedListener struct {
	net.Listener
	connections *Connections
}

// Accept implements net.Listener.
func (l boundedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if n := l.connections.admit(raw); n != nil {
			return n, nil
		}
	}
}

// sourceOf is who counts as one source: an IPv4 address, an IPv6 /64.
func sourceOf(at net.Addr) netip.Prefix {
	tcp, ok := at.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, _ := ip.Prefix(bits) // fails for no address at all
	return prefix
}
