//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// rejectedGroup is SRT_REJ_GROUP: the two ends do not agree on groups.
const rejectedGroup = 15

// bondedStream is a resource that one group publishes and another plays.
type bondedStream struct {
	*stream
	pub, player *bonded
	origin      *origin
	resource    string
	first       int // of the resource's sessions
	accepted    int // connections of the origin when the publisher had begun, of which it is one
}

// publishing starts a group that publishes, whose members are at different shards, and one
// that plays.
func (n *bondingLab) publishing(r *relay, origins []*origin, resource string, ways []string, flags ...string) *bondedStream {
	n.t.Helper()
	s := &bondedStream{resource: resource}
	for {
		s.first = len(r.begun(resource))
		s.pub = n.bonded("publish", resource, ways, flags...)
		s.pub.awaitAll()
		r.await("the publisher's sessions", func(stats) bool { return len(r.begun(resource)) == s.first+len(ways) })
		shards := map[int64]bool{}
		for _, l := range r.begun(resource)[s.first:] {
			shards[l.number("shard")] = true
			s.origin = origins[slices.IndexFunc(origins, func(o *origin) bool { return o.addr.String() == l.text("backend") })]
		}
		s.accepted = len(s.origin.lines("accepted"))
		if len(shards) > 1 {
			break
		}
		s.pub.stop()
		s.origin.awaitLine("closed", func(map[string]string) bool { return len(s.origin.lines("closed")) == s.accepted })
	}
	s.player = n.bonded("play", resource, ways, flags...)
	s.player.awaitAll()
	s.stream = &stream{
		relay: r, pub: s.pub.program,
		received: func() int { return s.origin.size(resource) }, content: func() []byte { return s.origin.received(resource) },
	}
	return s
}

// during feeds the publisher while change runs, and checks that nothing is missing and that
// all members have found their groups.
func (s *bondedStream) during(t *testing.T, change func()) {
	t.Helper()
	done := make(chan struct{})
	var flow sync.WaitGroup
	flow.Go(func() {
		if err := s.flowUntil(done, 1); err != nil {
			t.Errorf("origin: %v", err)
		}
	})
	func() {
		defer flow.Wait() // also if change ends the test
		defer close(done)
		change()
	}()
	s.played(t, s.resource, s.player.stdout.bytes)
	if n := len(s.origin.lines("accepted")); n != s.accepted+1 {
		t.Errorf("the origin has accepted %d connections, want the player's and %d:\n%s", n, s.accepted, s.origin.stdout.bytes())
	}
	for _, l := range s.relay.begun(s.resource)[s.first:] {
		if at := s.origin.addr.String(); l.text("backend") != at {
			t.Errorf("a member is not with its group at %s: %v", at, l)
		}
	}
}

// awaitMedia waits for n more messages at the origin and at the player.
func (s *bondedStream) awaitMedia(n int) {
	s.pub.t.Helper()
	more := n * messageSize
	at, played := s.received()+more, s.player.stdout.size()+more
	s.origin.awaitReceived(s.resource, at)
	s.player.stdout.awaitSize(patience, played)
	if s.received() < at || s.player.stdout.size() < played {
		s.pub.t.Fatalf("no %d more messages: the origin has %d bytes, the player %d", n, s.received(), s.player.stdout.size())
	}
}

// Real libsrt's groups publish and play over several links. A link is cut for a moment, and
// then until its members are given up; they come back, and all other links are cut. Nothing is
// missing, and the server has one connection of each group.
func TestRealBonding(t *testing.T) {
	t.Parallel()
	secret := []string{"-p", passphrase, "-k", "32"}
	for _, c := range []struct {
		name    string
		members int
		mode    []string
		secret  []string
	}{
		{"broadcast, 2 members", 2, nil, nil},
		{"broadcast, 3 members, AES-256", 3, nil, secret},
		{"backup, 2 members, AES-256", 2, []string{"-b"}, secret},
		{"backup, 3 members", 3, []string{"-b"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := openBondingLab(t)
			origins := n.origins(2, c.secret...)
			r := n.relay(origins)
			s := n.publishing(r, origins, "live/x", n.ways(r, c.members), append(c.mode, c.secret...)...)
			var others []int
			for i := 1; i < c.members; i++ {
				others = append(others, i)
			}
			s.during(t, func() {
				s.awaitMedia(messagesPerSecond)
				n.cut(0)
				s.awaitMedia(messagesPerSecond)
				n.cut()
				s.awaitMedia(messagesPerSecond)
				ended := len(endedOver(r, 0))
				n.cut(0)
				r.await("sessions given up", func(stats) bool { return len(endedOver(r, 0)) == ended+2 })
				s.awaitMedia(messagesPerSecond)
				n.cut()
				s.pub.awaitConnected(0, 2)
				s.player.awaitConnected(0, 2)
				s.awaitMedia(messagesPerSecond)
				n.cut(others...)
				s.awaitMedia(messagesPerSecond)
				n.cut()
				s.awaitMedia(messagesPerSecond)
			})
			n.carried(r)
			s.pub.stop()
			s.player.stop()
			r.awaitEmpty()
		})
	}
}

// All members lose datagrams at the same time.
func TestRealBondingOverLossyLinks(t *testing.T) {
	t.Parallel()
	n := openBondingLab(t)
	origins := n.origins(1, "-p", passphrase, "-k", "32")
	r := n.relay(origins)
	var ways []string
	for i := range 2 {
		l := n.lossy(i, r.all[i])
		l.Impair(srttest.Up, bad)
		l.Impair(srttest.Down, bad)
		ways = append(ways, at(l.Addr().Addr(), 0)+","+l.Addr().String())
	}
	s := n.publishing(r, origins, "live/x", ways, "-p", passphrase, "-k", "32")
	s.during(t, func() { s.awaitMedia(4 * messagesPerSecond) })
	n.carried(r)
}

// Members whose stream IDs differ meet, although other callers have bound their streams to
// different backends. libsrt gives all members one stream ID; others do not.
func TestRealBondingWithStreamIDs(t *testing.T) {
	t.Parallel()
	n := openBondingLab(t)
	origins := n.origins(2)
	r := n.relay(origins)
	ways := n.ways(r, 2)
	other := n.lossy(1, r.all[1])
	other.SetHook(func(dir srttest.Direction, b []byte) srttest.Action {
		renameStream(b, "live/x", "live/y")
		return srttest.Pass
	})
	for _, resource := range []string{"live/x", "live/y"} {
		n.bonded("play", resource, ways[:1]).awaitAll()
	}
	if r.home("live/x") == r.home("live/y") {
		t.Fatal("both streams are at one backend")
	}
	local, _ := linkEnds(1)
	ways[1] = at(local, 0) + "," + other.Addr().String()
	n.bonded("publish", "live/x", ways).awaitAll()
	r.await("all sessions", func(stats) bool { return len(r.begun("live/x")) == 2 && len(r.begun("live/y")) == 2 })
	if one, two := r.begun("live/x")[1], r.begun("live/y")[1]; one.text("backend") != two.text("backend") {
		t.Errorf("the members are apart:\n%v\n%v", one, two)
	}
	if one := r.begun("live/x")[1]; one.text("backend") != r.home("live/x") && one.text("backend") != r.home("live/y") {
		t.Errorf("the group is at no stream's backend: %v", one)
	}
}

// renameStream replaces a resource in the stream ID of a CONCLUSION by one of the same length.
func renameStream(b []byte, from, to string) {
	h, ok := wire.AsHandshake(b)
	if !ok {
		return
	}
	for block := range h.Blocks {
		if block.Type == wire.BlockSID {
			const header = 4
			copy(block.Content, wire.AppendString(nil, wire.BlockSID, strings.Replace(block.String(), from, to, 1))[header:])
		}
	}
}

// A server without bonding answers as to a single caller, and the group refuses it. One that
// takes no groups rejects them. Neither leaves a session behind.
func TestRealBondingRefused(t *testing.T) {
	t.Parallel()
	n := openBondingLab(t)
	for name, o := range map[string]*origin{
		"built without bonding": startOriginBy(t, n.onFar(), farAddr.String()),
		"takes no groups":       n.origin(),
	} {
		t.Run(name, func(t *testing.T) {
			r := n.relay([]*origin{o})
			b := n.bonded("publish", "live/x", n.ways(r, 2))
			for i := range 2 {
				b.awaitRejected(i, rejectedGroup)
			}
			<-b.done
			r.awaitEmpty()
		})
	}
}

// The bug: a backend that did not answer a handshake in time lost the member to another one,
// which opened a group of its own, so that the caller refused the member.
func TestRealBondingWithSlowBackend(t *testing.T) {
	t.Parallel()
	n := openBondingLab(t)
	origins := n.origins(2)
	r := n.relay(origins)
	n.cut(1)
	b := n.bonded("publish", "live/x", n.ways(r, 2))
	b.awaitConnected(0, 1)
	home, other := origins[0], origins[1]
	if r.home("live/x") == other.addr.String() {
		home, other = other, home
	}
	// Only handshakes are lost: the first member's session goes on.
	n.nft(n.far, "ip", fmt.Sprintf("chain slow { type filter hook input priority 0; udp dport %d @th,64,32 0x80000000 drop; }", home.addr.Port()))
	n.cut()
	local, _ := linkEnds(1)
	r.awaitLog("caller rejected", func(l logLine) bool { return netip.MustParseAddrPort(l.text("caller")).Addr() == local })
	n.nft(n.far, "ip", "")
	b.awaitConnected(1, 1)
	if said := b.says(1); slices.Contains(said, fmt.Sprint("rejected=", rejectedGroup)) || len(other.lines("accepted")) > 0 {
		t.Errorf("the member was sent to another backend than its group: %q", said)
	}
}

// endedOver are the sessions over a link that have ended.
func endedOver(r *relay, link int) (found []logLine) {
	local, _ := linkEnds(link)
	for _, l := range r.log("session ended") {
		if netip.MustParseAddrPort(l.text("caller")).Addr() == local {
			found = append(found, l)
		}
	}
	return found
}
