package goproxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/handshake"
	"srtrelay/wire"
)

const (
	// readSize is the slice that is made for every datagram.
	readSize = 4096
	// cookie is the same for all callers, as in the model.
	cookie = 0x418d5e4e
	// backendPatience bounds the wait for a backend's answer. The model has
	// no bound; the bench needs to end.
	backendPatience = 3 * time.Second
)

// Config has the addresses of the proxy and of its backends.
type Config struct {
	Listen   string
	Backends string
}

// Flags declares the proxy's flags.
func Flags(fs *flag.FlagSet) *Config {
	c := &Config{}
	fs.StringVar(&c.Listen, "listen", ":20080", "UDP `address` for callers")
	fs.StringVar(&c.Backends, "backends", "", "comma-separated `host:port` of SRT listeners")
	return c
}

// session is one caller's connection and its own socket to the backend.
type session struct {
	name   string // in logs, made at random
	packet []byte // that it was made for
	caller *net.UDPAddr
	// backend is nil before the handshake. An interface, as in the model: what
	// is read through it is allocated.
	backend net.Conn
}

// newSession makes a session with its own name. The model does so for every datagram of a
// caller, before it looks whether there is one.
func newSession(packet []byte) *session {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	sum := sha256.Sum256(b[:])
	return &session{name: hex.EncodeToString(sum[:])[:7], packet: packet}
}

// proxy holds sessions by both socket IDs, as its model does.
type proxy struct {
	listener *net.UDPConn
	backends []*net.UDPAddr
	next     atomic.Uint64
	sessions sync.Map
	readers  sync.WaitGroup
}

// Run proxies until ctx ends. It writes one line once it listens.
func Run(ctx context.Context, c *Config, out io.Writer) error {
	p := &proxy{}
	for host := range strings.SplitSeq(c.Backends, ",") {
		a, err := net.ResolveUDPAddr("udp", host)
		if err != nil || a.Port == 0 {
			return fmt.Errorf("-backends: %q is no host:port", host)
		}
		p.backends = append(p.backends, a)
	}
	local, err := net.ResolveUDPAddr("udp", c.Listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	if p.listener, err = net.ListenUDP("udp", local); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintln(out, "listening on", p.listener.LocalAddr())
	stop := context.AfterFunc(ctx, func() { _ = p.listener.Close() })
	defer stop()
	defer p.close()
	for {
		b := make([]byte, readSize)
		n, from, err := p.listener.ReadFromUDP(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue
		}
		p.fromCaller(b[:n], from)
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.sessions.Range(func(_, v any) bool {
		if backend := v.(*session).backend; backend != nil {
			_ = backend.Close()
		}
		return true
	})
	p.readers.Wait()
}

func (p *proxy) fromCaller(b []byte, from *net.UDPAddr) {
	if len(b) < wire.HeaderSize {
		return
	}
	h, ok := wire.AsHandshake(b)
	if !ok || wire.Packet(b).DestID() != 0 {
		v, _ := p.sessions.LoadOrStore(wire.Packet(b).DestID(), newSession(b))
		if backend := v.(*session).backend; backend != nil {
			_, _ = backend.Write(b)
		}
		return
	}
	switch h.Type() {
	case wire.HandshakeInduction:
		caller := from.AddrPort().Addr()
		_, _ = p.listener.WriteToUDP(handshake.AppendInductionReply(nil, h, cookie, 0, caller), from)
	case wire.HandshakeConclusion:
		p.connect(h, from)
	}
}

// connect does the whole handshake with the backend in the reader's goroutine, so that
// nobody else is served meanwhile.
func (p *proxy) connect(h wire.Handshake, from *net.UDPAddr) {
	to := p.backends[p.next.Add(1)%uint64(len(p.backends))]
	conn, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return
	}
	reply, err := backendHandshake(conn, h, to)
	if err != nil {
		_ = conn.Close()
		return
	}
	s := newSession(h)
	s.caller, s.backend = from, conn
	p.sessions.Store(h.SocketID(), s)
	p.sessions.Store(wire.Handshake(reply).SocketID(), s)
	_, _ = p.listener.WriteToUDP(reply, from)
	p.readers.Go(func() { p.readBack(s) })
}

// backendHandshake does the handshake with the backend and returns its response.
func backendHandshake(conn *net.UDPConn, h wire.Handshake, to *net.UDPAddr) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(backendPatience)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	addr := to.AddrPort().Addr()
	answer, err := ask(conn, handshake.AppendInduction(nil, h.SocketID(), handshake.Nonce(h.ISN()), addr))
	if err != nil {
		return nil, err
	}
	h.SetCookie(answer.Cookie())
	if answer, err = ask(conn, h); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	return answer, nil
}

func ask(conn *net.UDPConn, request []byte) (wire.Handshake, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, fmt.Errorf("ask backend: %w", err)
	}
	b := make([]byte, readSize)
	n, err := conn.Read(b)
	if err != nil {
		return nil, fmt.Errorf("ask backend: %w", err)
	}
	h, ok := wire.AsHandshake(b[:n])
	if !ok || h.Type().IsRejection() {
		return nil, errors.New("ask backend: no handshake in its answer")
	}
	return h, nil
}

func (p *proxy) readBack(s *session) {
	for {
		b := make([]byte, readSize)
		n, err := s.backend.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a refusal reported by ICMP: the next datagram may pass
		}
		_, _ = p.listener.WriteToUDP(b[:n], s.caller)
	}
}
