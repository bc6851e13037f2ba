package udp

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/net/bpf"

	"srtrelay/internal/need"
)

func TestSteeringNamesTheMember(t *testing.T) {
	if n := len(steering(make([]int, 1024))); n > 4096 {
		t.Errorf("%d instructions, more than the kernel takes (BPF_MAXINSNS)", n)
	}
	// The virtual machine has no CPU number: the comparisons are run with the
	// packet's first word in its place.
	program := steering([]int{4, 0, 6})
	program[0] = bpf.LoadAbsolute{Off: 0, Size: 4}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	for cpu, want := range map[byte]uint32{4: 0, 0: 1, 6: 2, 1: byFlow, 7: byFlow} {
		if got, err := vm.Run([]byte{0, 0, 0, cpu}); err != nil || uint32(got) != want {
			t.Errorf("CPU %d: member %d, %v; want %d", cpu, uint32(got), err, want)
		}
	}
}

// openSteered opens a group of two sockets, each for one CPU.
func openSteered(t *testing.T) (group []*Socket, steer []int) {
	t.Helper()
	cpus, err := UsableCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) < 2 {
		need.Skip(t, "one CPU: there is nothing to choose between")
	}
	steer = []int{cpus[1], cpus[0]}
	group, err = OpenFront(netip.MustParseAddrPort("127.0.0.1:0"), 2, Options{Steer: steer})
	if err != nil {
		t.Fatal(err)
	}
	return group, steer
}

// Loopback delivers on the sender's CPU: whatever their ports, datagrams go to
// the member of that CPU.
func TestSteerByCPU(t *testing.T) {
	group, steer := openSteered(t)
	for _, s := range group {
		defer s.Close()
	}
	const flows = 32
	for member, cpu := range steer {
		sendFrom(t, cpu, group[0].Local(), flows)
		b := openBatch(t, 2*flows, 2048)
		for i, s := range group {
			n, err := b.Receive(s)
			if err != nil {
				t.Fatal(err)
			}
			if want := flows * (1 - abs(i-member)); n != want {
				t.Errorf("from CPU %d: member %d received %d datagrams, want %d", cpu, i, n, want)
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }

// sendFrom sends a datagram from each of n sockets, on one CPU.
func sendFrom(t *testing.T, cpu int, to netip.AddrPort, n int) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its binding
		done <- func() error {
			if err := PinThread(cpu); err != nil {
				return err
			}
			for range n {
				conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
				if err != nil {
					return err
				}
				_, err = conn.Write([]byte("datagram"))
				_ = conn.Close()
				if err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
