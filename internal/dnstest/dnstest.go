// Package dnstest is a name server on loopback for tests: a real one, over UDP and TCP,
// that can also stall, fail and die. What it answers the test sets.
package dnstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a name server. Any goroutine may call it.
type Server struct {
	udp     *net.UDPConn
	tcp     net.Listener
	serving sync.WaitGroup

	mu      sync.Mutex
	addrs   map[string][]netip.Addr
	srv     map[string][]dnsmessage.SRVResource
	mode    Mode
	asked   int
	streams map[net.Conn]bool
}

// Mode is how a server answers.
type Mode int

// Modes of a server.
const (
	Answering Mode = iota
	Stalling       // says nothing
	Failing        // SERVFAIL
)

// maxUDP is the longest answer over UDP; of a longer one the client must ask over TCP.
const maxUDP = 1232

// Open starts a server, which ends with the test.
func Open(t testing.TB) *Server {
	t.Helper()
	s := &Server{addrs: map[string][]netip.Addr{}, srv: map[string][]dnsmessage.SRVResource{}, streams: map[net.Conn]bool{}}
	for {
		var err error
		if s.udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		if s.tcp, err = net.Listen("tcp4", s.udp.LocalAddr().String()); err == nil {
			break
		}
		_ = s.udp.Close() // its port is another's over TCP
	}
	s.serving.Go(s.serveUDP)
	s.serving.Go(s.serveTCP)
	t.Cleanup(s.Close)
	return s
}

// Close ends the server: from then on its port is closed.
func (s *Server) Close() {
	_ = s.udp.Close()
	_ = s.tcp.Close()
	s.mu.Lock()
	for conn := range s.streams {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Resolver returns a resolver that asks this server and no other.
func (s *Server) Resolver() *net.Resolver {
	at := s.udp.LocalAddr().String()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network[:3], at)
	}}
}

// Set sets the addresses of a name; none for a name without any.
func (s *Server) Set(name string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[name+"."] = nil
	for _, text := range addrs {
		s.addrs[name+"."] = append(s.addrs[name+"."], netip.MustParseAddr(text))
	}
}

// SetSRV sets the SRV records of a name.
func (s *Server) SetSRV(name string, records ...net.SRV) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv[name+"."] = nil
	for _, r := range records {
		s.srv[name+"."] = append(s.srv[name+"."], dnsmessage.SRVResource{
			Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: dnsmessage.MustNewName(r.Target),
		})
	}
}

// Remove makes a name one that does not exist.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.addrs, name+".")
	delete(s.srv, name+".")
}

// SetMode sets how the server answers.
func (s *Server) SetMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// Asked returns how many questions the server has got.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *Server) serveUDP() {
	question := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(question)
		if err != nil {
			return
		}
		if answer := s.answer(question[:n], maxUDP); answer != nil {
			_, _ = s.udp.WriteToUDPAddrPort(answer, from) // the client may be gone
		}
	}
}

func (s *Server) serveTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.streams[conn] = true
		s.mu.Unlock()
		s.serving.Go(func() { s.serveStream(conn) })
	}
}

// serveStream answers the questions of one TCP connection, each with its length in front.
func (s *Server) serveStream(conn net.Conn) {
	defer conn.Close()
	var length [2]byte
	for {
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer := s.answer(question, 1<<16-1)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer returns the answer to a question, nil for none. One of more than most bytes is
// cut to its header.
func (s *Server) answer(question []byte, most int) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.mode == Stalling {
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: head.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	bodies, exists := s.bodies(strings.ToLower(q.Name.String()), q.Type)
	switch {
	case s.mode == Failing:
		m.RCode = dnsmessage.RCodeServerFailure
	case !exists:
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, body := range bodies {
		if m.RCode == dnsmessage.RCodeSuccess {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: body,
			})
		}
	}
	packed, err := m.Pack()
	if err == nil && len(packed) > most {
		m.Truncated, m.Answers = true, nil
		packed, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return packed
}

// bodies returns the records of a name, and whether it has any of any type.
func (s *Server) bodies(name string, kind dnsmessage.Type) (all []dnsmessage.ResourceBody, exists bool) {
	addrs, hasAddrs := s.addrs[name]
	records, hasRecords := s.srv[name]
	for _, ip := range addrs {
		switch {
		case ip.Is4() && kind == dnsmessage.TypeA:
			all = append(all, &dnsmessage.AResource{A: ip.As4()})
		case ip.Is6() && kind == dnsmessage.TypeAAAA:
			all = append(all, &dnsmessage.AAAAResource{AAAA: ip.As16()})
		}
	}
	for i := range records {
		if kind == dnsmessage.TypeSRV {
			all = append(all, &records[i])
		}
	}
	return all, hasAddrs || hasRecords
}
