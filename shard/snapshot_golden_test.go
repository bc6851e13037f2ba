package shard

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
	"srtrelay/udp"
)

// The sockets of the snapshots in testdata have ports that the kernel gives to nobody.
const (
	goldenFront    = "127.77.0.1:10142"
	goldenWildcard = "0.0.0.0:10143"
	goldenUpstream = "0.0.0.0:10144"
)

// golden is a rig with the sockets of the snapshots in testdata.
func golden(t *testing.T) *rig {
	at := netip.MustParseAddrPort(goldenUpstream)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Skipf("another program has the port: %v", err)
	}
	defer conn.Close()
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	r := everyStateOf(t, func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort(goldenFront), netip.MustParseAddrPort(goldenWildcard)}
		c.Secret = handshake.Secret{1, 2, 3}
	}, func(r *rig) {
		sock, err := udp.AdoptBack(fd, at, udp.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_ = r.backs[0].sock.Close()
		r.backs[0].sock, r.backs[0].out = sock, udp.NewOutbox(sock)
	})
	return r
}

// A shard reads the snapshots of its own version and of the one before. When the format
// changes so that SnapshotVersion goes up, this test writes testdata/snapshot-vN.bin: commit
// it, and add what restore makes of it; what oldestSnapshot no longer allows is deleted.
func TestSnapshotsOfAllVersions(t *testing.T) {
	r := golden(t)
	for version := oldestSnapshot; version <= SnapshotVersion; version++ {
		name := fmt.Sprintf("testdata/snapshot-v%d.bin", version)
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && version == SnapshotVersion {
			if err := os.WriteFile(name, r.appendSnapshot(nil), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Fatalf("%s was missing; it has been written", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		next := r.successor()
		next.originAt = takenAt(t, b) - time.Hour
		if err := next.restore(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		next.wantGolden(t, name)
	}
}

// takenAt returns the time of a snapshot.
func takenAt(t *testing.T, b []byte) (at time.Duration) {
	t.Helper()
	for m := message.Read(b); m.Next(); {
		if m.Number() != snapshotHead {
			continue
		}
		for head := message.Read(m.Bytes()); head.Next(); {
			if head.Number() == headTaken {
				at = head.Time(message.Clock{})
			}
		}
	}
	return at
}

// wantGolden checks what a shard has from a snapshot in testdata, all of which are of
// everyState.
func (s *Shard) wantGolden(t *testing.T, name string) {
	t.Helper()
	want := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %s is %v, want %v", name, what, got, want)
		}
	}
	states := map[State]int{}
	s.sessions.each(func(_ uint32, ss *session) { states[ss.state]++ })
	want("states", states, map[State]int{StateResolving: 1, StateConnecting: 2, StateEstablished: 1, StateRejected: 1, StateClosing: 1})
	want("now", s.now, time.Hour)
	want("tombstones", s.sessions.tombstones, 2)
	want("half-open", s.admission.halfOpen, 3)
	want("generation", s.sessions.gen, 6)
	want("to be asked", len(s.unasked), 2)
	want("orphans", len(s.orphans.byKey), 1)
	want("outcomes", len(s.outcomes.unreported), 1)
	want("draining", s.draining, false)
	want("stalls", s.stalls.count, 1)
	want("handshakes", s.counters.local[CountHandshakes], 6)
	want("forwarded", s.counters.local[CountForwardedToBackend], 66)

	ss, cold := s.sessions.at(0), s.sessions.cold(0)
	want("key", cold.key(), "__defaultVhost__/live/x")
	want("stream ID", cold.streamID(), "#!::r=live/x,m=publish")
	want("backend", cold.backendID(), "b1")
	want("IDs", []uint32{ss.callerID, ss.backendID, ss.isn}, []uint32{callerID, backendID, callerISN})
	want("lease", ss.lease, 7)
	want("flow", ss.toBackend, Flow{65, 85264})
	want("front", ss.front, 1)
	want("version", cold.terms.CallerVersion, 0x10501)
	q := s.meters.Report(&ss.meter)[telemetry.ToBackend]
	want("packets", q.Packets, 64)
	want("lost", q.LostBefore, 8)
	want("receiver's RTT", q.Receiver.RTT, 20_000)
	secret := handshake.NewCookieGenerator(handshake.Secret{1, 2, 3})
	someone := addr.From(netip.MustParseAddrPort("192.0.2.1:9"))
	a, b := s.admission.cookies.AppendSnapshot(nil, message.Clock{Origin: 1}), secret.AppendSnapshot(nil, message.Clock{Origin: 1})
	want("secret", bytes.Equal(a[:34], b[:34]), true)
	cookie := s.admission.cookies.Generate(s.now, someone)
	want("cookie", s.admission.cookies.Check(s.now, someone, cookie), true)
}
