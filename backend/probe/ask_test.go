package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/handshake"
	"srtrelay/internal/freeaddr"
	"srtrelay/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listener is a UDP socket that answers as it is told.
type listener struct {
	addr  netip.AddrPort
	heard chan wire.Handshake // what came, while there is room
	mu    sync.Mutex
	speak func(wire.Handshake) [][]byte
}

func listen(t *testing.T, host string, speak func(wire.Handshake) [][]byte) *listener {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{
		addr:  conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		heard: make(chan wire.Handshake, 100),
		speak: speak,
	}
	var loop sync.WaitGroup
	loop.Go(func() { l.loop(t, conn) })
	t.Cleanup(func() { conn.Close(); loop.Wait() })
	return l
}

func (l *listener) loop(t *testing.T, conn *net.UDPConn) {
	for buffer := make([]byte, 2048); ; {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		h, ok := wire.AsHandshake(append([]byte(nil), buffer[:n]...))
		if !ok || n != wire.HandshakeSize || h.Type() != wire.HandshakeInduction || h.Version() != 4 ||
			h.Extension() != wire.UDTDgram || h.Packet().DestID() != 0 || h.SocketID() == 0 {
			t.Errorf("no caller's INDUCTION: % x", buffer[:n])
			continue
		}
		select {
		case l.heard <- h:
		default:
		}
		l.mu.Lock()
		speak := l.speak
		l.mu.Unlock()
		for _, b := range speak(h) {
			conn.WriteToUDPAddrPort(b, from)
		}
	}
}

func (l *listener) become(speak func(wire.Handshake) [][]byte) {
	l.mu.Lock()
	l.speak = speak
	l.mu.Unlock()
}

func silent(wire.Handshake) [][]byte { return nil }

// reply is a listener's answer.
func reply(h wire.Handshake, keyLen uint16) wire.Handshake {
	return handshake.AppendInductionReply(nil, h, 0xc00c1e, keyLen, netip.IPv6Loopback())
}

// answering is a good listener; change may spoil its answer.
func answering(keyLen uint16, change func(wire.Handshake)) func(wire.Handshake) [][]byte {
	return func(h wire.Handshake) [][]byte {
		r := reply(h, keyLen)
		if change != nil {
			change(r)
		}
		return [][]byte{r}
	}
}

// Every nonce has to work, not only half of them.
func TestAsk(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, keyLen := range []uint16{0, 2, 3, 4} {
			l := listen(t, host, answering(keyLen, nil))
			for range 20 {
				if got, err := ask(t.Context(), l.addr); err != nil || got != keyLen {
					t.Fatalf("%s: key length %d, %v; want %d", host, got, err, keyLen)
				}
				if h := <-l.heard; h.PeerIP() != netip.MustParseAddr(host) {
					t.Fatalf("%s: asked for peer IP %v", host, h.PeerIP())
				}
			}
		}
	}
}

func TestAskReadsOnlyKnownKeyLengths(t *testing.T) {
	for name, speak := range map[string]func(wire.Handshake) [][]byte{
		"1":              answering(1, nil),
		"5":              answering(5, nil),
		"UDT, version 4": answering(4, func(h wire.Handshake) { h.SetVersion(4) }),
	} {
		if got, err := ask(t.Context(), listen(t, "127.0.0.1", speak).addr); err != nil || got != 0 {
			t.Errorf("%s: key length %d, %v", name, got, err)
		}
	}
}

func TestAskRefusesNonsense(t *testing.T) {
	for name, speak := range map[string]func(wire.Handshake) [][]byte{
		"garbage":           func(wire.Handshake) [][]byte { return [][]byte{[]byte("HTTP/1.1 400 Bad Request")} },
		"empty datagram":    func(wire.Handshake) [][]byte { return [][]byte{{}} },
		"another nonce":     answering(4, func(h wire.Handshake) { h.SetISN(h.ISN() ^ 2) }),
		"another socket ID": answering(4, func(h wire.Handshake) { h.Packet().SetDestID(h.Packet().DestID() ^ 2) }),
		"a CONCLUSION":      answering(4, func(h wire.Handshake) { h.SetType(wire.HandshakeConclusion) }),
		"a rejection":       answering(4, func(h wire.Handshake) { h.SetType(1005) }),
		"an echo":           func(h wire.Handshake) [][]byte { return [][]byte{h} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, "127.0.0.1", speak)
			got, err := ask(t.Context(), l.addr)
			if !errors.Is(err, errInvalidReply) || !strings.Contains(err.Error(), l.addr.String()) || got != 0 {
				t.Errorf("key length %d, %v", got, err)
			}
		})
	}
}

// Somebody who floods the port with nonsense does not keep the answer out.
func TestAskFindsTheAnswerAmongNonsense(t *testing.T) {
	l := listen(t, "127.0.0.1", func(h wire.Handshake) [][]byte {
		forged := reply(h, 2)
		forged.SetISN(1)
		return [][]byte{{}, forged, make([]byte, 1472), reply(h, 4)}
	})
	if got, err := ask(t.Context(), l.addr); err != nil || got != 4 {
		t.Errorf("key length %d, %v", got, err)
	}
}

func TestAskSilence(t *testing.T) {
	l := listen(t, "127.0.0.1", silent)
	_, err := ask(t.Context(), l.addr)
	if err == nil || !strings.Contains(err.Error(), "no answer") || errors.Is(err, errInvalidReply) {
		t.Errorf("%v", err)
	}
}

func TestAskRefused(t *testing.T) {
	if _, err := ask(t.Context(), freeaddr.New()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

func openFiles(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: descriptors cannot be counted")
	}
	return len(all)
}

// Not parallel: it counts the descriptors of the whole process.
func TestAskEndsWithItsContext(t *testing.T) {
	l := listen(t, "127.0.0.1", silent)
	once := func() time.Duration {
		ctx, cancel := context.WithCancel(t.Context())
		var began time.Time
		var caller sync.WaitGroup
		caller.Go(func() {
			<-l.heard
			began = time.Now()
			cancel()
		})
		if _, err := ask(ctx, l.addr); err == nil {
			t.Error("an answer out of silence")
		}
		ended := time.Now()
		caller.Wait()
		return ended.Sub(began)
	}
	best := once()
	before := openFiles(t)
	for range 5 { // a busy machine may be late, but not each time
		best = min(best, once())
	}
	if best >= answerTimeout/2 {
		t.Errorf("ended %v after its context, as if nobody had told it", best)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
