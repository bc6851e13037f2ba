package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// commands runs command lines one after the other, in the namespace of the
// calling thread.
func commands(lines ...[]string) error {
	for _, l := range lines {
		if out, err := clocale.Command(l[0], l[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", l, err, out)
		}
	}
	return nil
}

// Two links of a host have the same address, fe80::1. Whoever dials it on
// either is answered from it and on that link, also a caller whose own address
// is a global one: nothing but the source then names the link.
func TestLinkLocalAddressIsAnsweredOnItsLink(t *testing.T) {
	need.Tools(t, "ip")
	inNamespace(t, func() error { // the callers' host
		callers := unix.Gettid()
		ready, done := make(chan uint16), make(chan error, 1)
		go func() { done <- namespaced(func() error { return answerOnTwoLinks(callers, ready) }) }()
		port := <-ready
		if port == 0 {
			return <-done
		}
		for _, link := range []string{"0", "1"} {
			if err := commands(
				[]string{"ip", "addr", "add", "fd00:" + link + "::2/64", "dev", "c" + link, "nodad"},
				[]string{"ip", "addr", "add", "fe80::2/64", "dev", "c" + link, "nodad"},
				[]string{"ip", "link", "set", "c" + link, "up"},
			); err != nil {
				return err
			}
		}
		for _, link := range []string{"0", "1"} {
			to := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%c"+link), port)
			for _, from := range []string{"fd00:" + link + "::2", "fe80::2%c" + link} {
				if err := askFrom(netip.MustParseAddr(from), to); err != nil {
					return fmt.Errorf("from %s to %s: %w", from, to, err)
				}
			}
		}
		return <-done
	})
}

// askFrom sends a datagram again and again, for a link takes a moment to come
// up, until it is answered from where it was sent to.
func askFrom(from netip.Addr, to netip.AddrPort) error {
	conn, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		_, _ = conn.Write([]byte("hello"))
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		// The socket is connected: an answer from elsewhere does not arrive.
		if n, err := conn.Read(make([]byte, 16)); err == nil && n == 5 {
			return nil
		}
	}
	return errors.New("no answer")
}

// answerOnTwoLinks makes two links to the namespace of a thread, each with
// fe80::1 at this end, tells the port, and answers one datagram of each of four
// callers with itself.
func answerOnTwoLinks(callers int, ready chan<- uint16) error {
	defer close(ready)
	for _, link := range []string{"0", "1"} {
		if err := commands(
			[]string{"ip", "link", "add", "v" + link, "type", "veth", "peer", "name", "c" + link, "netns", strconv.Itoa(callers)},
			[]string{"ip", "link", "set", "v" + link, "addrgenmode", "none"},
			[]string{"ip", "addr", "add", "fe80::1/64", "dev", "v" + link, "nodad"},
			[]string{"ip", "addr", "add", "fd00:" + link + "::1/64", "dev", "v" + link, "nodad"},
			[]string{"ip", "link", "set", "v" + link, "up"},
		); err != nil {
			return err
		}
	}
	group, err := OpenFront(netip.MustParseAddrPort("[::]:0"), 1, bothOffloads)
	if err != nil {
		return err
	}
	s := group[0]
	defer s.Close()
	batch, err := NewBatch(4, 2048)
	if err != nil {
		return err
	}
	defer batch.Close()
	ready <- s.Local().Port()
	out, answered := NewOutbox(s), make(map[string]bool)
	for deadline := time.Now().Add(15 * time.Second); len(answered) < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of four callers came", len(answered))
		}
		n, err := batch.Receive(s)
		if err != nil {
			return err
		}
		for i := range n {
			d := batch.At(i)
			out.Add(d.From, d.Local, 0, d.Data)
			answered[fmt.Sprint(d.From.IP, d.Local)] = true
		}
		out.Flush()
	}
	return nil
}
