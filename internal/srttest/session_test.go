package srttest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"srtrelay/wire"
)

func TestConnectEveryStyle(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]CallerOptions{
		"async":    {StreamID: "#!::r=live/a,m=publish"},
		"blocking": {Style: Blocking, StreamID: "x"},
		"gosrt":    {Style: Gosrt, StreamID: "x", KeyLen: 16},
		"hsv4":     {Version: 4},
		"aes":      {KeyLen: 24, StreamID: "x"},
		"auto":     {KeyLen: KeyLenAuto, StreamID: "x"},
		"group":    {GroupID: 1<<30 | 5, StreamID: "x"},
		"twoSIDs":  {StreamID: "first", SecondStreamID: "second"},
		"noFlag":   {StreamID: "unseen", OmitConfigFlag: true},
		"order":    {StreamID: "x", Order: []wire.BlockType{wire.BlockSID, wire.BlockHSReq}},
		"fec":      {Filter: "fec,cols:10", Congestion: "live"},
		"ids":      {SocketID: 0xF0000001, ISN: 0x7FFFFFFE},
	} {
		for family, local := range map[string]netip.AddrPort{"v4": loop4, "v6": loop6} {
			t.Run(name+"/"+family, func(t *testing.T) {
				t.Parallel()
				l := newListener(t, ListenerConfig{Local: local, Gosrt: name == "gosrt"})
				l.AdvertiseKeyLen(32)
				p := newPort(t, local)
				s := dial(t, p, l.Addr(), o)
				check(t, o, s, l)
			})
		}
	}
}

func check(t *testing.T, o CallerOptions, s *Session, l *Listener) {
	t.Helper()
	c := l.Connections()[0]
	wantSID := map[bool]string{true: "", false: o.StreamID}[o.OmitConfigFlag]
	if o.SecondStreamID != "" {
		wantSID = o.SecondStreamID // libsrt: the last wins
	}
	if c.StreamID != wantSID || c.Source != s.Port().Addr() || c.GroupID != o.GroupID {
		t.Errorf("connection %+v", c)
	}
	if c.PeerID() != s.ID() || s.PeerID() != c.ID || c.ISN != s.ISN() {
		t.Errorf("ids: %d %d, %d %d; ISN %d %d", c.PeerID(), s.ID(), s.PeerID(), c.ID, c.ISN, s.ISN())
	}
	seen := s.Seen()
	if seen.InductionReplies < 1 || seen.Responses < 1 || seen.PeerIP != s.Port().Addr().Addr() ||
		c.PeerIP != l.Addr().Addr() || seen.Encryption != 4 || seen.ResponseISN != s.ISN() {
		t.Errorf("seen %+v", seen)
	}
	if want := map[int]int{KeyLenAuto: 32}[o.KeyLen] + max(o.KeyLen, 0); c.KeyLen != want {
		t.Errorf("key of %d bytes, want %d", c.KeyLen, want)
	}
	if o.GroupID != 0 && (seen.GroupID != c.MirrorID || c.MirrorID == 0) {
		t.Errorf("mirror group %#x, seen %#x", c.MirrorID, seen.GroupID)
	}
	for range 3 {
		s.SendData(make([]byte, 100))
	}
	await(t, c, "data", func() bool { return c.Counters().Received == 3 })
	if n := c.Counters(); n.Lost != 0 || n.Stale != 0 || n.ReceivedBytes != 300 {
		t.Errorf("%+v", n)
	}
	s.SendShutdown()
	await(t, l, "shutdown", func() bool { return l.Live() == 0 })
}

func TestEchoThroughCleanLink(t *testing.T) {
	t.Parallel()
	const n = 500
	l := newListener(t, ListenerConfig{Mode: Echo})
	l.EchoKeepalives(true)
	k := newLink(t, LinkConfig{Listen: loop6, Target: l.Addr()})
	s := dial(t, newPort(t, loop6), k.Addr(), CallerOptions{StreamID: "x", RecvBuffer: n + 1})
	for range n {
		s.SendData([]byte("hello"))
	}
	s.SendKeepalive()
	await(t, s, "echo", func() bool { c := s.Counters(); return c.Received == n && c.Keepalives == 1 })
	if c := s.Counters(); c.Lost+c.Duplicated+c.Reordered+c.Stale != 0 || len(s.Recv()) != n+1 {
		t.Errorf("%+v", c)
	}
}

func TestCountersThroughLossyLink(t *testing.T) {
	t.Parallel()
	const n = 3000
	l := newListener(t, ListenerConfig{})
	k := newLink(t, LinkConfig{Target: l.Addr(), Seed: 11})
	s := dial(t, newPort(t, loop4), k.Addr(), CallerOptions{StreamID: "x"})
	before := k.Stats(Up)
	k.Impair(Up, Impairment{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1})
	for i := range n {
		s.SendData(make([]byte, 10))
		if i%200 == 199 {
			await(t, k, "pace", func() bool { return k.Stats(Up).Received-before.Received > uint64(i) })
		}
	}
	k.Release(Up)
	k.Impair(Up, Impairment{})
	s.SendData(nil) // closes a gap at the end, if there is one
	c := l.Connections()[0]
	up := func() LinkStats {
		u := k.Stats(Up)
		u.Forwarded -= before.Forwarded
		return u
	}
	await(t, c, "all", func() bool {
		u := up()
		return u.Forwarded == n+1-u.Lost+u.Duplicated && c.Counters().Received == u.Forwarded
	})
	got, u := c.Counters(), up()
	if got.Lost != u.Lost || got.Duplicated != u.Duplicated || got.Stale != 0 {
		t.Errorf("counted %+v, happened %+v", got, u)
	}
	if got.Reordered == 0 || got.Reordered > u.Reordered {
		t.Errorf("%d came late, %d were held", got.Reordered, u.Reordered)
	}
}

func TestConnectThroughBadLink(t *testing.T) {
	t.Parallel()
	bad := Impairment{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1}
	l := newListener(t, ListenerConfig{})
	k := newLink(t, LinkConfig{Target: l.Addr(), Up: bad, Down: bad, Seed: 5})
	p := newPort(t, loop4)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := p.Dial(context.Background(), k.Addr(), CallerOptions{StreamID: "x", Timeout: patience}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if l.Count() != 50 {
		t.Errorf("%d connections for 50 sessions", l.Count())
	}
}

func TestStylesRepeatAsTheyDo(t *testing.T) {
	t.Parallel()
	for style, want := range map[Style]int{LibsrtAsync: 3, Blocking: 1, Gosrt: 1} {
		l := newListener(t, ListenerConfig{})
		l.SilentInduction(true)
		_, err := newPort(t, loop4).Dial(deadline(t), l.Addr(), CallerOptions{Style: style, Timeout: 650 * time.Millisecond})
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("style %d: %v", style, err)
		}
		log := l.Handshakes()
		if len(log) > want || len(log) < (want+2)/2 { // a busy machine skips a tick
			t.Fatalf("style %d sent %d INDUCTIONs, want %d", style, len(log), want)
		}
		if isn := log[0].Packet.ISN(); (isn == 0) != (style == Gosrt) {
			t.Errorf("style %d: ISN %d", style, isn)
		}
		if style == LibsrtAsync {
			step := log[1].Packet.Packet().Timestamp() - log[0].Packet.Packet().Timestamp()
			if step < 200_000 {
				t.Errorf("timestamps %d us apart", step)
			}
		}
	}
}

func TestGosrtCallerDiesOfSecondResponse(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	p := newPort(t, loop4)
	s := dial(t, p, l.Addr(), CallerOptions{Style: Gosrt, StreamID: "x"})
	robust := dial(t, p, l.Addr(), CallerOptions{StreamID: "x"})
	s.ResendConclusion()
	robust.ResendConclusion()
	<-s.Done()
	if !errors.Is(s.Err(), ErrRepeatedResponse) {
		t.Error(s.Err())
	}
	await(t, robust, "second response", func() bool { return robust.Seen().Responses >= 2 })
	if robust.Err() != nil || l.Count() != 2 {
		t.Errorf("%v, %d connections", robust.Err(), l.Count())
	}
}

func TestLateInductionReplyEndsByItself(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	s := dial(t, newPort(t, loop4), l.Addr(), CallerOptions{StreamID: "x"})
	c := l.Connections()[0]
	s.ResendInduction()
	// reply -> wire 1004 to the connection -> HSv4 CONCLUSION -> nothing
	await(t, s, "the exchange", func() bool { return s.Seen().Responses >= 2 })
	s.SendData([]byte("x"))
	await(t, c, "data", func() bool { return c.Counters().Received == 1 })
	if n := c.Counters().Handshakes; n < 1 || s.Err() != nil {
		t.Errorf("%d handshakes, %v", n, s.Err())
	}
}

func TestManySessionsOverFewPorts(t *testing.T) {
	t.Parallel()
	const ports, each = 10, 100
	l := newListener(t, ListenerConfig{})
	var all sync.WaitGroup
	for range ports {
		p := newPort(t, loop4)
		for range each {
			all.Go(func() {
				s, err := p.Dial(context.Background(), l.Addr(), CallerOptions{StreamID: "x", Timeout: patience})
				if err != nil {
					t.Error(err)
					return
				}
				for range 5 {
					s.SendData(make([]byte, 200))
				}
			})
		}
	}
	all.Wait()
	await(t, l, "all data", func() bool {
		if l.Count() != ports*each {
			return false
		}
		for _, c := range l.Connections() {
			if n := c.Counters(); n.Received != 5 || n.Lost != 0 {
				return false
			}
		}
		return true
	})
	if s := l.Stats(); s.Unknown != 0 || s.BadCookies != 0 {
		t.Errorf("%+v", s)
	}
}
