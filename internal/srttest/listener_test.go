package srttest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/wire"
)

func TestRejections(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	p := newPort(t, loop4)
	try := func(o CallerOptions) uint32 {
		t.Helper()
		_, err := p.Dial(deadline(t), l.Addr(), o)
		var r *Rejection
		if err != nil && !errors.As(err, &r) {
			t.Fatal(err)
		}
		if r == nil {
			return 0
		}
		return r.Code
	}
	l.Reject(2404)
	if got := try(CallerOptions{}); got != 2404 {
		t.Errorf("code %d", got)
	}
	if got := try(CallerOptions{Version: 4}); got != 1007 {
		t.Errorf("HSv4: %d", got)
	}
	l.RejectTimes(1005, 2)
	for i, want := range []uint32{1005, 1005, 0} {
		if got := try(CallerOptions{}); got != want {
			t.Errorf("attempt %d: code %d", i, got)
		}
	}
	for name, test := range map[string]struct {
		o    CallerOptions
		want uint32
	}{
		"version 6":     {CallerOptions{Version: 6}, 1008},
		"no HSREQ":      {CallerOptions{Order: []wire.BlockType{wire.BlockSID}, StreamID: "x"}, 1004},
		"empty SID":     {CallerOptions{Extensions: wire.AppendBlock(features(), wire.BlockSID, nil), Flags: 5}, 1000},
		"SID too long":  {CallerOptions{StreamID: string(make([]byte, 513))}, 1000},
		"unknown block": {CallerOptions{Extensions: wire.AppendBlock(features(), 99, []byte("abcd")), Flags: 5}, 0},
	} {
		if got := try(test.o); got != test.want {
			t.Errorf("%s: code %d, want %d", name, got, test.want)
		}
	}
}

func features() []byte {
	return wire.AppendFeatures(nil, wire.BlockHSReq, wire.Features{Version: srtVersion, Flags: libsrtFlags})
}

func TestBadCookie(t *testing.T) {
	t.Parallel()
	for _, gosrt := range []bool{false, true} {
		l := newListener(t, ListenerConfig{Gosrt: gosrt})
		s := must[*Session](t)(newPort(t, loop4).Open(l.Addr(), CallerOptions{Manual: true}))
		s.ResendInduction()
		await(t, s, "reply", func() bool { return s.Seen().InductionReplies == 1 })
		l.ExpireCookies()
		s.SendRaw(s.Conclusion(s.Seen().Cookie))
		await(t, l, "refusal", func() bool { return l.Stats().BadCookies == 1 })
		if gosrt {
			<-s.Done()
			var r *Rejection
			if !errors.As(s.Err(), &r) || r.Code != 1004 {
				t.Error(s.Err())
			}
			continue
		}
		s.ResendInduction() // a fresh reply and nothing else
		await(t, s, "second reply", func() bool { return s.Seen().InductionReplies == 2 })
		s.ResendConclusion()
		await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
		if seen := s.Seen(); seen.Rejections+seen.Unexpected != 0 || l.Count() != 1 {
			t.Errorf("%+v", seen)
		}
	}
}

func TestRepeatedConclusion(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	p := newPort(t, loop4)
	s := dial(t, p, l.Addr(), CallerOptions{StreamID: "x"})
	s.SendRaw(s.Conclusion(s.Seen().Cookie))
	await(t, s, "again", func() bool { return s.Seen().Responses >= 2 })
	c := l.Connections()[0]
	if got := c.Arrivals(); l.Count() != 1 || len(got) < 2 || got[1].Timestamp <= got[0].Timestamp {
		t.Errorf("%d connections, arrivals %+v", l.Count(), got)
	}
	// The same source and ID with another ISN is somebody else.
	h := s.Conclusion(s.Seen().Cookie)
	h.SetISN((h.ISN() + 1) % sequenceMask)
	s.SendRaw(h)
	if both := must[[]*Connection](t)(l.AwaitConnections(deadline(t), 2)); both[0].ID == both[1].ID {
		t.Error("equal IDs")
	}
	l.FixID(4711)
	for n := range 2 {
		dial(t, newPort(t, loop4), l.Addr(), CallerOptions{})
		if id := l.Connections()[2+n].ID; id != 4711 {
			t.Errorf("ID %d", id)
		}
	}
}

func TestGosrtListenerKeysByIDAlone(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{Gosrt: true})
	s := dial(t, newPort(t, loop4), l.Addr(), CallerOptions{Style: Gosrt, StreamID: "#!::r=a"})
	if seen := s.Seen(); seen.StreamID != "#!::r=a" || wire.Handshake(seen.Response).Cookie() != 0 {
		t.Errorf("%+v", seen)
	}
	o := CallerOptions{SocketID: s.ID(), Timeout: 100 * time.Millisecond}
	if _, err := newPort(t, loop4).Dial(deadline(t), l.Addr(), o); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if st := l.Stats(); l.Count() != 1 || st.Repeated != 1 {
		t.Errorf("%d connections, %+v", l.Count(), st)
	}
}

func TestLiesAreCaught(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	p := newPort(t, loop4)
	timeout := patience
	attempt := func(style Style) (*Session, error) {
		return p.Dial(deadline(t), l.Addr(), CallerOptions{Style: style, Timeout: timeout})
	}
	l.Lie(WrongISN)
	if _, err := attempt(LibsrtAsync); err != nil {
		t.Errorf("asynchronous callers do not look at the ISN: %v", err)
	}
	var p1 *ProtocolError
	if _, err := attempt(Blocking); !errors.As(err, &p1) {
		t.Error(err)
	}
	timeout = 250 * time.Millisecond
	l.Lie(WrongDestID)
	if _, err := attempt(LibsrtAsync); !errors.Is(err, ErrTimeout) || p.Stats().Unknown == 0 {
		t.Errorf("%v, %+v", err, p.Stats())
	}
	l.Lie(Truncated)
	if s, err := attempt(LibsrtAsync); !errors.Is(err, ErrTimeout) || s.Seen().Malformed == 0 {
		t.Errorf("%v", err)
	}
	l.Lie(Garbage)
	if _, err := attempt(Gosrt); err == nil {
		t.Error("garbage was believed")
	}
	l.Lie(Honest)
	l.LieInInduction(Truncated)
	if _, err := attempt(Gosrt); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	l.LieInInduction(Honest)
	l.AnswerFromOtherPort(true)
	if s, err := attempt(LibsrtAsync); !errors.Is(err, ErrTimeout) || s.Seen().Foreign == 0 {
		t.Error(err)
	}
	l.AnswerFromOtherPort(false)
	timeout = patience
	l.DataBeforeResponse(3)
	if s, err := attempt(LibsrtAsync); err != nil || s.Seen().Early != 3 || s.Seen().ConclusionsSent < 4 {
		t.Errorf("%v, %+v", err, s.Seen())
	}
}

func TestSilenceAndSlowness(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	p := newPort(t, loop4)
	short := CallerOptions{Timeout: 80 * time.Millisecond}
	for name, throw := range map[string]func(bool){
		"all": l.Silent, "induction": l.SilentInduction, "conclusion": l.SilentConclusion,
	} {
		throw(true)
		if _, err := p.Dial(deadline(t), l.Addr(), short); !errors.Is(err, ErrTimeout) {
			t.Errorf("%s: %v", name, err)
		}
		throw(false)
	}
	l.DropFirst(1)
	s := dial(t, p, l.Addr(), CallerOptions{})
	if seen := s.Seen(); seen.InductionsSent < 2 || l.Stats().Dropped < 2 || l.Count() != 1 {
		t.Errorf("%+v, %+v", seen, l.Stats())
	}
	l.SlowBy(30 * time.Millisecond)
	start := time.Now()
	dial(t, p, l.Addr(), CallerOptions{})
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{Local: freeaddr.New()})
	p := newPort(t, loop4)
	s := dial(t, p, l.Addr(), CallerOptions{})
	l.SendShutdown(l.Connections()[0])
	<-s.Done()
	if !errors.Is(s.Err(), ErrShutdown) || l.Live() != 0 {
		t.Errorf("%v, %d live", s.Err(), l.Live())
	}
	s.SendData([]byte("x"))
	await(t, l, "unknown", func() bool { return l.Stats().Unknown == 1 })
	l.Forget()
	if l.Count() != 0 {
		t.Error("not forgotten")
	}

	l.Kill()
	wantNobody(t, l.Addr())
	if n := must[*Listener](t)(NewListener(ListenerConfig{Local: l.Addr()})); n.Close() != nil {
		t.Error("the address was not free")
	}
}

// wantNobody checks that the kernel says that nobody listens at an address.
func wantNobody(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn := must[net.Conn](t)(net.Dial("udp4", at.String()))
	defer conn.Close()
	// The kernel sends no more than some ICMPs per second, all tests' together.
	for end := time.Now().Add(patience); ; {
		conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		conn.Write([]byte("x"))
		_, err := conn.Read(make([]byte, 1))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no ICMP port unreachable: %v", err)
		}
	}
}

// The bug: a child that another test forked at that moment had a copy of the socket, so that
// somebody was still at the address of a backend that had been killed, and nothing was refused.
func TestKilledWhileAnotherTestForks(t *testing.T) {
	t.Parallel()
	var forks sync.WaitGroup
	var over atomic.Bool
	for range 2 {
		forks.Go(func() {
			for !over.Load() {
				if err := clocale.Command("true").Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer func() { over.Store(true); forks.Wait() }()
	for range 200 {
		l := must[*Listener](t)(NewListener(ListenerConfig{Local: freeaddr.New()}))
		l.Kill()
		again, err := NewListener(ListenerConfig{Local: l.Addr()})
		if err != nil {
			t.Fatalf("somebody has the address of a killed backend: %v", err)
		}
		again.Kill()
	}
}
