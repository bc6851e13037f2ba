//go:build linux

package srttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
	"srtrelay/wire"
)

// tool is a running srt-live-transmit; it ends with the test.
type tool struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.Reader
	stderr transcript
}

// unflushed is how many chunks the tool may keep in its stdio buffers.
const unflushed = 4

func start(t *testing.T, from, to string) *tool {
	t.Helper()
	path := need.Tool(t, "srt-live-transmit")
	x := &tool{cmd: clocale.Command(path, "-q", "-a:no", "-chunk:1316", from, to)}
	x.cmd.Stderr = &x.stderr
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that panics cleans nothing up
	x.stdin = must[io.WriteCloser](t)(x.cmd.StdinPipe())
	x.stdout = must[io.Reader](t)(x.cmd.StdoutPipe())
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Neither a read nor a write may outlive the test's patience.
	limit := time.AfterFunc(8*time.Second, func() { x.cmd.Process.Kill() })
	t.Cleanup(func() {
		limit.Stop()
		x.cmd.Process.Kill()
		x.cmd.Wait() // killed: the error says nothing
		if t.Failed() {
			t.Logf("srt-live-transmit %s %s:\n%s", from, to, x.stderr.String())
		}
	})
	return x
}

// transcript is what a process wrote so far.
type transcript struct {
	notifier Notifier
	mu       sync.Mutex
	text     bytes.Buffer
}

func (x *transcript) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.notifier.Notify()
	defer x.mu.Unlock()
	return x.text.Write(b)
}

func (x *transcript) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

func (x *transcript) Await(ctx context.Context, cond func() bool) error {
	return x.notifier.Await(ctx, cond)
}

func freeAddr(t *testing.T, like netip.AddrPort) netip.AddrPort {
	conn := must[*net.UDPConn](t)(open(like))
	defer conn.Close()
	return localAddr(conn)
}

func chunk(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, 1316) }

// A real publisher at the fake Listener: stream ID, key length adopted from
// the INDUCTION reply, KMRSP, payload, ACK and SHUTDOWN.
func TestRealCallerPublishes(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string]string{"clear": "", "aes": "&passphrase=0123456789abc"} {
		for _, gosrt := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/gosrt=%v", name, gosrt), func(t *testing.T) {
				t.Parallel()
				l := newListener(t, ListenerConfig{Gosrt: gosrt})
				l.Ack(true)
				l.AdvertiseKeyLen(32)
				x := start(t, "file://con", fmt.Sprintf("srt://%v?mode=caller&streamid=live/x%s", l.Addr(), extra))
				c := must[[]*Connection](t)(l.AwaitConnections(deadline(t), 1))[0]
				// The tool throws away what it reads before it knows that it is
				// connected, and answers an ACK at most every 10 ms.
				enough := func() bool { n := c.Counters(); return n.Received >= 200 && n.AckAcks > 0 }
				for i := 0; !enough(); i++ {
					if _, err := x.stdin.Write(chunk(i)); err != nil {
						t.Fatal(err)
					}
					once, cancel := context.WithTimeout(context.Background(), sendPace)
					c.Await(once, enough)
					cancel()
				}
				got := c.Counters()
				if got.Lost+got.Stale != 0 || c.StreamID != "live/x" || c.Features.Flags != libsrtFlags {
					t.Errorf("%+v, stream ID %q, %+v", got, c.StreamID, c.Features)
				}
				if want := map[string]int{"clear": 0, "aes": 32}[name]; c.KeyLen != want {
					t.Errorf("key length %d", c.KeyLen)
				}
				x.cmd.Process.Signal(os.Interrupt)
				x.stdin.Close() // the signal alone does not end a read
				await(t, c, "SHUTDOWN", func() bool { return c.Counters().Shutdowns == 1 })
			})
		}
	}
}

// A real player at the fake Listener, through a Link: TSBPD delivers what
// Source sends, timestamps and sequence numbers included.
func TestRealCallerPlays(t *testing.T) {
	t.Parallel()
	const n = 100
	l := newListener(t, ListenerConfig{Mode: Source, Rate: 200, Limit: n})
	k := newLink(t, LinkConfig{Target: l.Addr(), Down: Impairment{Duplicate: 0.1, Reorder: 0.1}, Seed: 2})
	x := start(t, fmt.Sprintf("srt://%v?mode=caller&streamid=live/x", k.Addr()), "file://con")
	if _, err := io.ReadFull(x.stdout, make([]byte, (n-unflushed)*1316)); err != nil {
		t.Fatal(err)
	}
	if c := l.Connections()[0].Counters(); c.Acks == 0 || c.Sent < n-unflushed {
		t.Errorf("%+v", c)
	}
}

func TestRealCallerIsRejected(t *testing.T) {
	t.Parallel()
	l := newListener(t, ListenerConfig{})
	l.Reject(2404)
	x := start(t, fmt.Sprintf("srt://%v?mode=caller", l.Addr()), "file://con")
	await(t, &x.stderr, "the tool's complaint", func() bool {
		return strings.Contains(x.stderr.String(), "rejection")
	})
	if s := l.Stats(); s.Rejected != 1 || s.Conclusions != 1 {
		t.Errorf("%+v", s)
	}
}

// The fake Caller at a real listener: every style connects, and what it sends
// comes out in order.
func TestRealListenerReceives(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]CallerOptions{
		"async":    {StreamID: "#!::r=a/b,m=publish"},
		"blocking": {StreamID: "x", Style: Blocking},
		"gosrt":    {StreamID: "x", Style: Gosrt},
		"hsv4":     {Version: 4},
		"order":    {StreamID: "x", Order: []wire.BlockType{wire.BlockSID, wire.BlockHSReq}},
		"v6":       {StreamID: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local := loop4
			if name == "v6" {
				local = loop6
			}
			at := freeAddr(t, local)
			x := start(t, fmt.Sprintf("srt://%v?mode=listener", at), "file://con")
			p := newPort(t, local)
			awaitListener(t, p, at)
			s := dial(t, p, at, o)
			var want []byte
			for i := range 50 {
				if i < 50-unflushed {
					want = append(want, chunk(i)...)
				}
				s.SendData(chunk(i))
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(x.stdout, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("payload differs, %v", err)
			}
			await(t, s, "ACK", func() bool { return s.Counters().Acks > 0 })
			s.SendShutdown()
		})
	}
}

const (
	probeEvery = 50 * time.Millisecond
	sendPace   = time.Millisecond
)

// awaitListener probes until a real listener answers an INDUCTION: a gosrt
// caller, which asks once, must find it there.
func awaitListener(t *testing.T, p *CallerPort, at netip.AddrPort) {
	t.Helper()
	ctx := deadline(t)
	for ctx.Err() == nil {
		s := must[*Session](t)(p.Open(at, CallerOptions{Manual: true}))
		s.ResendInduction()
		once, cancel := context.WithTimeout(ctx, probeEvery)
		err := s.Await(once, func() bool { return s.Seen().InductionReplies > 0 })
		cancel()
		s.Close()
		if err == nil {
			return
		}
	}
	t.Fatal("the real listener never answered")
}

func TestRealListenerRefusesBadCookieSilently(t *testing.T) {
	t.Parallel()
	at := freeAddr(t, loop4)
	start(t, fmt.Sprintf("srt://%v?mode=listener", at), "file://con")
	p := newPort(t, loop4)
	awaitListener(t, p, at)
	s := must[*Session](t)(p.Open(at, CallerOptions{Manual: true, StreamID: strings.Repeat("s", 512)}))
	s.ResendInduction()
	await(t, s, "reply", func() bool { return s.Seen().InductionReplies == 1 })
	cookie := s.Seen().Cookie
	s.SendRaw(s.Conclusion(cookie + 1))
	h := s.Conclusion(cookie)
	h.SetVersion(6)
	s.SendRaw(h)
	<-s.Done() // the version is refused, and nothing came before
	var r *Rejection
	if !errors.As(s.Err(), &r) || r.Code != 1008 || s.Seen().Rejections != 1 {
		t.Errorf("%v, %+v", s.Err(), s.Seen())
	}
}
