package api

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// MaxConnections is the most connections that the API needs at once: all readers of
// events, the captures, a few scrapers and web pages. It has fewer if the limit of open
// files leaves fewer.
const MaxConnections = 256

// Connections bounds and counts the API's connections. A new connection beyond the
// bound, or beyond the bound of its source, replaces the one that has been idle
// longest; if none is idle, the new one is closed. A connection is idle until it has
// sent the whole header of a request, and again between two requests; feeds and
// captures are never idle. Any goroutine may use it.
type Connections struct {
	most, perSource, longLived int

	mu       sync.Mutex
	open     map[*conn]struct{}
	sources  map[netip.Prefix]int
	replaced uint64
	refused  uint64
}

// conn is one connection. The lock of its Connections guards the fields.
type conn struct {
	net.Conn
	owner  *Connections
	source netip.Prefix
	idle   bool
	since  time.Time // when it became idle
	closed bool
}

// NewConnections allows most connections. One source (an IPv4 address or an IPv6 /64)
// may have half of them, and half may be feeds and captures: neither can keep all
// others out.
func NewConnections(most int) *Connections {
	half := max(most/2, 1)
	return &Connections{
		most: max(most, 1), perSource: half, longLived: half,
		open: map[*conn]struct{}{}, sources: map[netip.Prefix]int{},
	}
}

// ConnectionCounts says what became of the connections.
type ConnectionCounts struct {
	Open int // at present
	// Replaced were idle and closed for a newer one; Refused were closed at once.
	Replaced, Refused uint64
}

// Counts returns the present counts.
func (c *Connections) Counts() ConnectionCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConnectionCounts{Open: len(c.open), Replaced: c.replaced, Refused: c.refused}
}

// admit adds a new connection, or closes it and returns nil.
func (c *Connections) admit(raw net.Conn) net.Conn {
	n := &conn{Conn: raw, owner: c, source: sourceOf(raw.RemoteAddr()), idle: true, since: time.Now()}
	c.mu.Lock()
	full, crowded := len(c.open) >= c.most, c.sources[n.source] >= c.perSource
	var out *conn
	if full || crowded {
		out = c.longestIdle(func(o *conn) bool { return !crowded || o.source == n.source })
	}
	switch {
	case out != nil:
		c.remove(out)
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

// longestIdle returns the connection that has been idle longest, nil if none is.
// Called with mu held.
func (c *Connections) longestIdle(fits func(*conn) bool) (oldest *conn) {
	for o := range c.open {
		if o.idle && fits(o) && (oldest == nil || o.since.Before(oldest.since)) {
			oldest = o
		}
	}
	return oldest
}

// remove takes a connection out. Called with mu held.
func (c *Connections) remove(n *conn) {
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
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
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
	n.owner.mu.Lock()
	n.owner.remove(n)
	n.owner.mu.Unlock()
	return n.Conn.Close()
}

// CloseWrite is how net/http ends a connection whose request it has not read to the
// end: without it the client would lose the answer. net/http then waits half a second
// for the client; meanwhile the connection counts as idle longest.
func (n *conn) CloseWrite() error {
	n.owner.mu.Lock()
	n.idle, n.since = true, time.Time{}
	n.owner.mu.Unlock()
	if half, ok := n.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// boundedListener accepts connections within the bounds of Connections.
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

// sourceOf returns what counts as one source: an IPv4 address or an IPv6 /64.
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
