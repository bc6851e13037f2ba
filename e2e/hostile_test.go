//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// siege is a relay under attack while a few sessions run through it.
type siege struct {
	*relay
	backend   *srttest.Listener
	flows     []*flow
	upstream  []netip.AddrPort
	attackers []attacker
	forge     *forge
	sent      uint64 // hostile datagrams
}

const (
	siegeFlows     = 4
	siegeAttackers = 16
	// volley is how many hostile datagrams may be under way: far fewer than
	// the relay's receive buffer holds, so that the kernel drops none.
	volley = 4096
)

func startSiege(t *testing.T, program string, seed uint64, longest int, args ...string) *siege {
	t.Helper()
	needBuffers(t)
	g := &siege{backend: startMirror(t), forge: newForge(seed, longest)}
	g.relay = startRelayBy(t, nil, []string{program}, append(args, backendAt(g.backend.Addr()), "--shards", "2", "--idle-timeout", "3s",
		"--overload", "off", "--max-sessions", "300", "--max-handshakes", "100", "--max-handshakes-per-source", "64")...)
	g.hostile = true
	known := map[netip.AddrPort]bool{}
	for i := range siegeFlows {
		s := mustDial(t, g.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/flow%d,m=publish", i)})
		conn, _ := connectionOf(t, s, g.backend)
		if !known[conn.Source] {
			known[conn.Source] = true
			g.upstream = append(g.upstream, conn.Source)
		}
		echo(t, s, 1)
		g.forge.victims = append(g.forge.victims, victim{s, conn, s.Seen(), len(conn.Arrivals())})
		g.flows = append(g.flows, keepFlowing(t, s))
	}
	for range siegeAttackers {
		g.attackers = append(g.attackers, g.newAttacker())
	}
	return g
}

// newAttacker opens an attacker's port and gets it a cookie.
func (g *siege) newAttacker() attacker {
	g.t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	must(g.t, err)
	g.t.Cleanup(func() { conn.Close() })
	// These ports only make datagrams, which leave from conn.
	open := func(id uint32) *srttest.Session {
		s, err := openPort(g.t, loopback).Open(g.addr, srttest.CallerOptions{
			Manual: true, SocketID: id, StreamID: "#!::r=live/attack,m=publish", KeyLen: 16,
		})
		must(g.t, err)
		return s
	}
	a := attacker{conn: conn, own: open(0)}
	for _, v := range g.forge.victims {
		a.stolen = append(a.stolen, open(v.s.ID()))
	}
	_, err = conn.WriteToUDPAddrPort(a.own.Induction(), g.addr)
	must(g.t, err)
	reply := make(wire.Handshake, wire.HandshakeSize)
	must(g.t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, _, err = conn.ReadFromUDPAddrPort(reply)
	must(g.t, err)
	a.cookie = reply.Cookie()
	return a
}

// received is what the relay has taken in so far.
func (g *siege) received() uint64 {
	st := g.stats()
	return st["received_front"] + st["received_back"]
}

// attack sends n hostile datagrams, some at each call of next, which returns
// how many. It does so in volleys: each waits until the relay has taken in the
// one before.
func (g *siege) attack(n int, next func() int) {
	g.t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for done := 0; done < n; {
		before, sent := g.received(), 0
		for sent < volley {
			sent += next()
		}
		done += sent
		g.sent += uint64(sent)
		deadline := time.Now().Add(patience)
		for ; g.received() < before+uint64(sent); <-look.C {
			if time.Now().After(deadline) {
				g.t.Fatalf("a volley of %d datagrams is lost; counters %v", sent, g.stats())
			}
		}
	}
}

// storm is n datagrams from the attackers' own addresses to all of the
// relay's ports.
func (g *siege) storm(n int) {
	g.t.Helper()
	i := 0
	g.attack(n, func() int {
		a := g.attackers[i%len(g.attackers)]
		to, datagram := g.addr, func() []byte { return g.forge.ToListener(func() []byte { return g.forge.request(a) }) }
		if i++; i%4 == 0 {
			to, datagram = g.upstream[g.forge.IntN(len(g.upstream))], g.forge.ToUpstream
		}
		return g.sendTrain(a, to, 1+g.forge.IntN(longestTrain), datagram)
	})
}

const (
	// longestTrain fits the 64 segments of older kernels.
	longestTrain = 60
	trainBytes   = 60_000
)

// sendTrain sends n datagrams, or as many as fit, all of the length of the
// first: the kernel cuts them from one piece, and a relay with GRO receives
// them in one. It returns their number.
func (g *siege) sendTrain(a attacker, to netip.AddrPort, n int, datagram func() []byte) int {
	g.t.Helper()
	train := datagram()
	size := len(train)
	n = max(1, min(n, trainBytes/max(size, 1)))
	if size == 0 {
		n = 1
	}
	for range n - 1 {
		b := datagram()
		if short := size - len(b); short > 0 {
			b = append(b, g.forge.Bytes(short)...)
		}
		train = append(train, b[:size]...)
	}
	raw, err := a.conn.SyscallConn()
	must(g.t, err)
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	})
	must(g.t, errors.Join(err, set))
	_, err = a.conn.WriteToUDPAddrPort(train, to)
	must(g.t, err)
	return n
}

// awaitCalm waits until the sessions that attackers opened have timed out.
func (g *siege) awaitCalm() {
	g.t.Helper()
	g.await("only the flows left", func(st stats) bool {
		return st["sessions"] == siegeFlows && st["half_open"] == 0 && st["tombstones"] == 0
	})
}

// finish checks that the flows never noticed, and that every datagram is
// accounted for.
func (g *siege) finish(reasons string) {
	g.t.Helper()
	g.awaitCalm()
	for i, f := range g.flows {
		f.finish(g.backend)
		was := g.forge.victims[i]
		if seen := f.s.Seen(); seen.InductionReplies != was.seen.InductionReplies || seen.Responses != was.seen.Responses {
			g.t.Errorf("a running caller was answered again: %+v, before %+v", seen, was.seen)
		}
		if n := len(was.conn.Arrivals()); n != was.arrivals {
			g.t.Errorf("a running connection got %d CONCLUSIONs, before %d", n, was.arrivals)
		}
	}
	st := g.stats()
	if st["kernel_drops"] != 0 {
		g.t.Errorf("the kernel dropped %d datagrams", st["kernel_drops"])
	}
	if got := g.received(); got < g.sent {
		g.t.Errorf("received %d datagrams of %d hostile ones", got, g.sent)
	}
	for reason := range strings.FieldsSeq(reasons) {
		if st[reason] == 0 {
			g.t.Errorf("no datagram was dropped as %s", reason)
		}
	}
	g.t.Logf("%d hostile datagrams, drops by reason: %v", g.sent, g.dropsByReason())
}

func (g *siege) dropsByReason() stats {
	sum := stats{}
	for _, s := range g.shards() {
		for reason, n := range s.Drops {
			sum[reason] += n
		}
	}
	return sum
}

// A million hostile datagrams: no panic, no growth, every one counted under
// the name of its fate, and the sessions that run meanwhile lose nothing. This
// takes all CPUs, so no test runs beside it.
func TestMillionHostileDatagrams(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const half = 500_000
	g := startSiege(t, plainBinary(t), 1, 2000)
	g.storm(half)
	g.awaitCalm()
	before, routines, files := readHeap(g.relay), goroutines(g.relay), g.openFDs()
	dropped := g.drops()
	g.storm(half)
	g.awaitCalm()
	if got := g.drops() - dropped; got < half/2 {
		t.Errorf("only %d of %d datagrams dropped", got, half)
	}
	awaitResources(g.relay, routines, files)
	after := readHeap(g.relay)
	t.Logf("resident %d KiB before the second half, %d KiB after; heap %d KiB before, %d KiB after", before.resident>>10,
		after.resident>>10, before.sums["HeapAlloc"]>>10, after.sums["HeapAlloc"]>>10)
	// Less than two bytes a datagram in the heap. What is resident also
	// depends on how far the receive buffers have ever been filled.
	if after.resident > before.resident+8<<20 || after.sums["HeapAlloc"] > before.sums["HeapAlloc"]+1<<20 {
		t.Errorf("memory grew")
	}
	g.finish("short not_handshake malformed rendezvous cookie foreign_caller foreign_backend duplicate")
}

// The same without GRO, where receive buffers are small: oversized datagrams
// arrive truncated, and are dropped as such.
func TestHostileDatagramsWithoutOffload(t *testing.T) {
	t.Parallel()
	g := startSiege(t, binary, 2, 4000, "--gro", "off", "--gso", "off")
	g.storm(50_000)
	g.finish("truncated short not_handshake malformed rendezvous foreign_caller foreign_backend")
}
