//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// An INDUCTION at one relay and the CONCLUSION at another succeed if both have one file of
// secrets, also while the secret is being changed.
func TestSharedSecretFile(t *testing.T) {
	t.Parallel()
	dir, backend := t.TempDir(), startMirror(t)
	former, next := strings.Repeat("former-secret-", 3), strings.Repeat("next-secret-", 3)
	file := func(n int) string { return filepath.Join(dir, fmt.Sprint(n)) }
	write := func(n int, secrets ...string) {
		must(t, os.WriteFile(file(n), []byte("# shared\n"+strings.Join(secrets, "\n")+"\n"), 0o600))
	}
	var relays []*relay
	for n := range 2 {
		write(n, former)
		relays = append(relays, startRelay(t, "--cookie-secret-file", file(n), backendAt(backend.Addr())))
		relays[n].awaitLog("backend alive", func(logLine) bool { return true })
	}
	reload := func(n int, secrets ...string) {
		before := len(relays[n].log("shared secrets in force"))
		in := func(logLine) bool { return len(relays[n].log("shared secrets in force")) > before }
		write(n, secrets...)
		relays[n].signal(syscall.SIGHUP)
		relays[n].awaitLog("shared secrets in force", in)
	}
	split := func(what string, first, second *relay) {
		t.Helper()
		if got := splitHandshake(t, first, second); got != wire.HandshakeConclusion {
			t.Errorf("%s: the answer is %v", what, got)
		}
	}
	split("one secret", relays[0], relays[1])
	reload(0, former, next)
	split("one relay accepts the next one", relays[0], relays[1])
	reload(1, former, next)
	reload(0, next, former)
	split("one relay uses the next one", relays[0], relays[1])
	split("the other one uses the former", relays[1], relays[0])
	reload(1, next)
	reload(0, next)
	split("the former one is gone", relays[1], relays[0])
	write(1, "short")
	relays[1].signal(syscall.SIGHUP)
	relays[1].awaitLog("configuration not reloaded, nothing has changed", func(logLine) bool { return true })
	split("a wrong file changes nothing", relays[0], relays[1])
}

// splitHandshake sends the INDUCTION of a handshake to one relay and its CONCLUSION to another,
// and returns the type of the last answer.
func splitHandshake(t *testing.T, first, second *relay) wire.HandshakeType {
	t.Helper()
	port, err := srttest.NewCallerPort(loopback)
	must(t, err)
	t.Cleanup(func() { _ = port.Close() })
	// Only for its datagrams: a session takes answers of one address.
	s, err := port.Open(second.addr, srttest.CallerOptions{StreamID: "#!::r=live/split,m=publish", Manual: true})
	must(t, err)
	must(t, s.ResendInduction())
	must(t, s.Await(patiently(t), func() bool { return s.Seen().InductionReplies > 0 }))
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback))
	must(t, err)
	defer conn.Close()
	ask := func(to netip.AddrPort, b []byte) wire.Handshake {
		t.Helper()
		_, err := conn.WriteToUDPAddrPort(b, to)
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(patience)))
		answer := make([]byte, 2048)
		n, from, err := conn.ReadFromUDPAddrPort(answer)
		must(t, err)
		h, ok := wire.AsHandshake(answer[:n])
		if !ok || from != to {
			t.Fatalf("an answer of %d bytes from %v", n, from)
		}
		return h
	}
	induction := ask(first.addr, s.Induction())
	return ask(second.addr, s.Conclusion(induction.Cookie())).Type()
}

// The bug: a CONCLUSION that its caller repeats, and that reaches another relay because the hash
// of its flow has changed meanwhile, opened a second session at the backend.
func TestConclusionRepeatedAtAnotherRelay(t *testing.T) {
	t.Parallel()
	store, backend := startStore(t), startMirror(t)
	var clusters []string
	start := func(listen string) *relay {
		clusters = append(clusters, freeaddr.New().String())
		r := startRelay(t, append(store.at(), "--listen", listen, "--cluster-listen", clusters[len(clusters)-1], backendAt(backend.Addr()))...)
		r.awaitShared(1)
		r.awaitLog("backend alive", func(logLine) bool { return true })
		return r
	}
	owner := start("127.0.0.1:0")
	other := start(fmt.Sprintf("127.0.0.2:%d", owner.addr.Port()))
	awaitAcquainted(t, store.ask, clusters...)

	port, err := srttest.NewCallerPort(loopback)
	must(t, err)
	t.Cleanup(func() { _ = port.Close() })
	s, err := port.Open(owner.addr, srttest.CallerOptions{StreamID: "#!::r=live/again,m=publish", Manual: true})
	must(t, err)
	must(t, s.ResendInduction())
	must(t, s.Await(patiently(t), func() bool { return s.Seen().InductionReplies > 0 }))
	must(t, s.ResendConclusion())
	must(t, s.Await(patiently(t), func() bool { return s.Seen().Responses > 0 }))
	key, field := "srtrelay-sessions:"+clusters[0], fmt.Sprintf("%d/%v", owner.addr.Port(), port.Addr())
	if !eventually(func() bool { return store.ask("HEXISTS", key, field) == "1" }) {
		t.Fatalf("%s is not published: %s", field, store.ask("HGETALL", key))
	}

	again := s.Conclusion(s.Seen().Cookie)
	must(t, port.SendRaw(other.addr, again))
	must(t, s.Await(patiently(t), func() bool { return s.Seen().Responses > 1 }))
	if n := other.stats()["handshakes"]; n > 0 {
		t.Errorf("the other relay has begun %d handshakes", n)
	}
	before := s.Counters().Keepalives
	for k := range 3 { // at once, before anybody could ask Redis about it
		b := make([]byte, wire.HeaderSize+4)
		wire.PutControl(b, wire.TypeKeepalive, s.Timestamp()+uint32(k), s.PeerID())
		must(t, port.SendRaw(other.addr, b))
	}
	must(t, s.Await(patiently(t), func() bool { return s.Counters().Keepalives >= before+3 }))
	if n := backend.Count(); n != 1 {
		t.Errorf("the backend has accepted %d sessions", n)
	}
}

// What another relay passes on reaches its session also after a take-over.
func TestPassingOnThroughATakeOver(t *testing.T) {
	t.Parallel()
	store, backend, socket := startStore(t), startMirror(t), filepath.Join(t.TempDir(), "takeover.sock")
	args := func(name string, more ...string) []string {
		cluster := freeaddr.New().String()
		return append(append(store.at(), "--name", name, "--cluster-listen", cluster, backendAt(backend.Addr())), more...)
	}
	mine := args("owner")
	owner := startRelay(t, append(mine, "--takeover-socket", socket)...)
	elsewhere := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), owner.addr.Port())
	other := startRelay(t, args("other", "--listen", elsewhere.String())...)
	for _, r := range []*relay{owner, other} {
		r.awaitShared(1)
		r.awaitLog("backend alive", func(logLine) bool { return true })
	}
	port, err := srttest.NewCallerPort(loopback)
	must(t, err)
	t.Cleanup(func() { _ = port.Close() })
	s, err := port.Dial(patiently(t), owner.addr, srttest.CallerOptions{StreamID: "#!::r=live/moved,m=publish"})
	must(t, err)
	echoed := func(what string, by *relay) {
		t.Helper()
		before, received := s.Counters().Keepalives, by.series("srtrelay_relays_received_datagrams_total", "")
		if !eventually(func() bool {
			b := make([]byte, wire.HeaderSize+4)
			wire.PutControl(b, wire.TypeKeepalive, s.Timestamp(), s.PeerID())
			must(t, port.SendRaw(elsewhere, b))
			return s.Counters().Keepalives >= before+5
		}) {
			t.Fatalf("%s: nothing comes back; %v\n%s", what, other.stats(), by.tail())
		}
		if by.series("srtrelay_relays_received_datagrams_total", "") == received {
			t.Errorf("%s: not by the other relay", what)
		}
	}
	echoed("before", owner)
	next := owner.successor(socket, mine...)
	echoed("after the take-over", next)
	s.Close()
}
