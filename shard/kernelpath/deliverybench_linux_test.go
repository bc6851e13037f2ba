package kernelpath

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// BenchmarkDelivery is what a datagram costs from its sender's call to its receiver's socket,
// in CPU time: the program, what the kernel does with what the program sends on, and two
// virtual devices. The receiver drops it. Run it on one CPU (taskset -c 1), because what is put
// off until later is then done there too.
func BenchmarkDelivery(b *testing.B) {
	w := newNetwork(b)
	w.path = w.relay.open(b)
	for _, family := range []int{4, 6} {
		b.Run(fmt.Sprintf("IPv%d", family), func(b *testing.B) {
			w.t = b
			caller, front := w.listen(w.callers, callerAddresses[family]), w.listen(w.relay, frontAddresses[family])
			b.Run("direct", func(b *testing.B) {
				deliver(b, caller, front, local(front), backendID)
			})
			for _, to := range []struct {
				name    string
				n       *namespace
				address string
			}{
				{"loopback", w.relay, localAddresses[family]},
				{"address of a device", w.relay, frontAddresses[family]},
				{"another host", w.backends, backendAddresses[family]},
			} {
				backend := w.listen(to.n, to.address)
				e := w.session(caller, backend, frontAddresses[family])
				b.Run("to the backend, "+to.name, func(b *testing.B) {
					deliver(b, caller, backend, e.Front, e.BackendID)
				})
				b.Run("to the caller, "+to.name, func(b *testing.B) {
					deliver(b, backend, caller, e.Upstream, e.CallerID)
				})
			}
		})
	}
}

// deliver sends datagrams, whose receiver has to take the first one.
func deliver(b *testing.B, from, to *net.UDPConn, dialled addr.AddrPort, id uint32) {
	setFilter(b, to, acceptAll)
	p := dataOf(1, plain, id, 1316)
	if _, err := from.WriteToUDPAddrPort(p, dialled.Netip()); err != nil {
		b.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(3 * time.Second))
	if n, err := to.Read(make([]byte, len(p))); n != len(p) {
		b.Fatalf("%d bytes arrive (%v)", n, err)
	}
	setFilter(b, to, acceptNone)
	raw, err := from.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var begin, end time.Duration
	err = raw.Control(func(fd uintptr) {
		to := sockaddrOf(dialled)
		begin = threadTime()
		for range b.N {
			if err := unix.Sendto(int(fd), p, 0, to); err != nil {
				b.Errorf("send: %v", err)
				break
			}
		}
		end = threadTime()
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(end-begin)/float64(b.N), "ns/op")
}

func sockaddrOf(a addr.AddrPort) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port), Addr: [4]byte(a.IP[12:])}
	}
	return &unix.SockaddrInet6{Port: int(a.Port), Addr: a.IP}
}

// How many bytes of a datagram a socket keeps: a filter's return value.
const (
	acceptAll  = 0xffffffff
	acceptNone = 0
)

// setFilter has a socket keep so many bytes of what it receives (BPF_RET).
func setFilter(b *testing.B, c *net.UDPConn, bytes uint32) {
	b.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
			Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: bytes},
		})
	})
	if err != nil {
		b.Fatal(err)
	}
}
