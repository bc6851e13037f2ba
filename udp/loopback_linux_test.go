package udp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/addr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bothOffloads is what a relay runs with unless told otherwise.
var bothOffloads = Options{GRO: true, GSO: true}

var loopbacks = map[string]netip.Addr{
	"IPv4": netip.MustParseAddr("127.0.0.1"),
	"IPv6": netip.IPv6Loopback(),
}

// eachFamily runs the test on both loopback addresses.
func eachFamily(t *testing.T, run func(t *testing.T, ip netip.Addr)) {
	for name, ip := range loopbacks {
		t.Run(name, func(t *testing.T) { run(t, ip) })
	}
}

func openFront(t testing.TB, ap netip.AddrPort, o Options) *Socket {
	t.Helper()
	group, err := OpenFront(ap, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group[0].Close() })
	return group[0]
}

func openBack(t testing.TB, ip netip.Addr, o Options) *Socket {
	t.Helper()
	s, err := OpenBack(ip, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// openPeer opens a plain socket of the standard library.
func openPeer(t testing.TB, ip netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func portOf(conn *net.UDPConn) netip.AddrPort {
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// at is where s is reached through ip.
func at(s *Socket, ip netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(ip, s.Local().Port())
}

func openBatch(t testing.TB, n, size int) *Batch {
	t.Helper()
	b, err := NewBatch(n, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// receive waits until s has something and receives it.
func receive(t testing.TB, b *Batch, s *Socket) int {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, err := b.Receive(s)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return n
		}
		time.Sleep(100 * time.Microsecond)
	}
	t.Fatalf("nothing arrived on %s", s.Local())
	return 0
}

// received is a datagram that outlives its batch.
type received struct {
	payload []byte
	from    addr.AddrPort
	stride  int
	train   int // datagrams that came together
}

// receiveAll takes n datagrams from s, trains apart.
func receiveAll(t testing.TB, b *Batch, s *Socket, n int) (all []received) {
	t.Helper()
	for len(all) < n {
		for i := range receive(t, b, s) {
			d := b.At(i)
			if d.Truncated {
				t.Fatalf("%d bytes truncated", len(d.Data))
			}
			train := 1
			if d.Stride > 0 {
				train = (len(d.Data) + d.Stride - 1) / d.Stride
			}
			for rest := d.Data; train > 0; {
				end := min(d.Stride, len(rest))
				all = append(all, received{bytes.Clone(rest[:end]), d.From, d.Stride, train})
				if rest = rest[end:]; len(rest) == 0 {
					break
				}
			}
		}
	}
	return all
}

// wantPayloads checks count, order, boundaries and content.
func wantPayloads(t testing.TB, got []received, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d datagrams arrived, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i].payload, want[i]) {
			t.Fatalf("datagram %d: %d bytes beginning %.12q, want %d beginning %.12q",
				i, len(got[i].payload), got[i].payload, len(want[i]), want[i])
		}
	}
}

// payload is size bytes that name themselves.
func payload(i, size int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, size)
	copy(b, fmt.Sprintf("#%d.", i))
	return b
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
