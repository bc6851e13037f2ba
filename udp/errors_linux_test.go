package udp

import (
	"bytes"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// closedPort is an address where nobody listens.
func closedPort(t *testing.T, ip netip.Addr) netip.AddrPort {
	t.Helper()
	peer := openPeer(t, ip)
	defer peer.Close()
	return portOf(peer)
}

func (o *Outbox) sendOne(to netip.AddrPort, b []byte) {
	o.Add(addr.From(to), addr.IP{}, 0, b)
	o.Flush()
}

func TestRefusalIsReported(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		s, closed := openBack(t, ip, bothOffloads), closedPort(t, ip)
		NewOutbox(s).sendOne(closed, payload(7, 64))
		p, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		i := p.Add(s)
		if err := p.Wait(time.Second); err != nil || !p.Errored(i) || !s.ErrorsPending() {
			t.Fatalf("Wait: %v, errored %v, pending %v", err, p.Errored(i), s.ErrorsPending())
		}
		n := s.ReadErrors(10, func(r Refusal) {
			if r.Kind != KindRefused {
				t.Errorf("refusal %+v", r)
			}
			if r.From != addr.From(closed) || !bytes.HasPrefix(payload(7, 64), r.Quoted) || len(r.Quoted) < 16 {
				t.Errorf("from %s, %d bytes quoted", r.From, len(r.Quoted))
			}
		})
		if n != 1 || s.ErrorsPending() {
			t.Errorf("%d refusals, pending %v", n, s.ErrorsPending())
		}
		if err := p.Wait(0); err != nil || p.Errored(i) {
			t.Errorf("still errored: %v", err)
		}
	})
}

// A pending refusal fails the next call, whatever that one is about. Neither a
// send nor a receive may lose its own datagram by it.
func TestPendingErrorCostsNobody(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		s, closed, peer := openBack(t, ip, bothOffloads), closedPort(t, ip), openPeer(t, ip)
		o, b := NewOutbox(s), openBatch(t, 4, 65536)
		for round := range 5 {
			o.sendOne(closed, payload(round, 64))
			o.Outcome()
			o.sendOne(portOf(peer), []byte("innocent"))
			if got := o.Outcome(); got.Sent != 1 || got.Calls != 2 || !s.ErrorsPending() {
				t.Fatalf("outcome %+v, pending %v; want a retry", got, s.ErrorsPending())
			}
			buffer := make([]byte, 100)
			if n, _, err := peer.ReadFromUDPAddrPort(buffer); err != nil || string(buffer[:n]) != "innocent" {
				t.Fatalf("peer got %q, %v", buffer[:n], err)
			}
			s.ReadErrors(10, func(Refusal) {})

			if _, err := peer.WriteToUDPAddrPort([]byte("answer"), at(s, ip)); err != nil {
				t.Fatal(err)
			}
			o.sendOne(closed, payload(round, 64))
			if n, err := b.Receive(s); n != 1 || err != nil || !s.ErrorsPending() {
				t.Fatalf("Receive: %d, %v, pending %v", n, err, s.ErrorsPending())
			}
			if n := s.ReadErrors(10, func(Refusal) {}); n != 1 {
				t.Fatalf("%d refusals, want 1", n)
			}
		}
	})
}

func TestReadErrorsIsBounded(t *testing.T) {
	s, closed := openBack(t, loopbacks["IPv4"], Options{}), closedPort(t, loopbacks["IPv4"])
	o := NewOutbox(s)
	for i := range 3 {
		o.sendOne(closed, payload(i, 40))
	}
	s.errorsPending = false // as if nobody had noticed
	read := func() int { return s.ReadErrors(2, func(Refusal) {}) }
	if n := read(); n != 2 || !s.ErrorsPending() {
		t.Errorf("%d of 3 read, pending %v", n, s.ErrorsPending())
	}
	if n := read(); n != 1 || s.ErrorsPending() {
		t.Errorf("%d of 1 read, pending %v", n, s.ErrorsPending())
	}
	front := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	if n := front.ReadErrors(2, func(Refusal) { t.Error("called") }); n != 0 {
		t.Errorf("a front socket has %d errors", n)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		errno  unix.Errno
		origin uint8
		kind   Kind
	}{
		{unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP, KindRefused},
		{unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP6, KindRefused},
		{unix.ECONNREFUSED, unix.SO_EE_ORIGIN_LOCAL, KindOther},
		{unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, KindUnreachable},
		{unix.ENETUNREACH, unix.SO_EE_ORIGIN_ICMP, KindUnreachable},
		{unix.EACCES, unix.SO_EE_ORIGIN_ICMP6, KindUnreachable},
		{unix.EMSGSIZE, unix.SO_EE_ORIGIN_LOCAL, KindTooBig},
		{unix.EPROTO, unix.SO_EE_ORIGIN_ICMP6, KindOther},
		{0, unix.SO_EE_ORIGIN_TXTIME, KindOther},
	} {
		if kind := classify(unix.SockExtendedErr{Errno: uint32(c.errno), Origin: c.origin}); kind != c.kind {
			t.Errorf("%v from %d: kind %d, want %d", c.errno, c.origin, kind, c.kind)
		}
	}
}

func TestReceiveOnAnUnusableDescriptor(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	broken := &Socket{fd: 1 << 20, local: s.Local()}
	if _, err := openBatch(t, 1, 64).Receive(broken); !errors.Is(err, syscall.EBADF) {
		t.Errorf("Receive: %v, want EBADF", err)
	}
}
