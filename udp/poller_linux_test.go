package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func openPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestWaitEndsInTime(t *testing.T) {
	p := openPoller(t)
	for _, timeout := range []time.Duration{0, 300 * time.Microsecond, 5 * time.Millisecond} {
		fastest, early := time.Hour, 0
		const tolerance = 2 * time.Millisecond
		// A busy host may be late, often. It is early only by a signal, as the runtime sends
		// them to preempt goroutines.
		for try := 0; try < 10 || (try < 200 && fastest > timeout+tolerance); try++ {
			start := time.Now()
			if err := p.Wait(timeout); err != nil || p.woken() {
				t.Fatalf("Wait(%v): %v, woken %v", timeout, err, p.woken())
			}
			if took := time.Since(start); took < timeout {
				early++
			} else {
				fastest = min(fastest, took)
			}
		}
		if fastest > timeout+tolerance || early > 5 {
			t.Errorf("Wait(%v) took %v, %d times less than that", timeout, fastest, early)
		}
		t.Logf("Wait(%v) took %v", timeout, fastest)
	}
}

// waitWoken waits until a Wake ends a Wait. A signal may end one, too: the runtime
// sends them to preempt goroutines.
func waitWoken(t *testing.T, p *Poller) {
	t.Helper()
	for {
		if err := p.Wait(-1); err != nil {
			t.Fatalf("Wait: %v", err)
		}
		if p.woken() {
			return
		}
	}
}

func TestWakeFromAnotherGoroutine(t *testing.T) {
	p := openPoller(t)
	for range 200 {
		go p.Wake()
		waitWoken(t, p)
	}
	p.Wake() // before Wait, and twice: ends one Wait only
	p.Wake()
	waitWoken(t, p)
	if err := p.Wait(0); err != nil || p.woken() {
		t.Errorf("one Wake ended two Waits: %v", err)
	}
}

func TestWaitSeesItsSockets(t *testing.T) {
	p := openPoller(t)
	quiet := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	busy := openFront(t, netip.MustParseAddrPort("[::1]:0"), Options{})
	i, j := p.Add(quiet), p.Add(busy)
	if _, err := openPeer(t, loopbacks["IPv6"]).WriteToUDPAddrPort([]byte("x"), busy.Local()); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(-1); err != nil || p.Readable(i) || !p.Readable(j) || p.Errored(j) || p.woken() {
		t.Errorf("Wait: %v, readable %v %v", err, p.Readable(i), p.Readable(j))
	}
	busy.Close() // with its datagram unread
	if err := p.Wait(0); err != nil || p.Readable(j) || p.Errored(j) {
		t.Errorf("a closed socket is ready: %v", err)
	}
}

// Wake may race with Close and come after it; it must never write to whatever
// got the descriptor's number next.
func TestWakeAfterClose(t *testing.T) {
	for range 50 {
		p, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(p.Wake)
		}
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		r, w, err := os.Pipe() // takes the number
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		p.awake.Store(false)
		p.Wake()
		w.Close()
		if n, _ := r.Read(make([]byte, 8)); n != 0 {
			t.Fatal("Wake wrote to a file that is not the poller's")
		}
		r.Close()
		if err := p.Wait(0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Wait after Close: %v", err)
		}
	}
}

func TestPinThread(t *testing.T) {
	done := make(chan struct{})
	go func() { // the thread ends with it, pinned as it is
		defer close(done)
		runtime.LockOSThread()
		cpus, err := UsableCPUs()
		if err != nil || len(cpus) == 0 {
			t.Errorf("UsableCPUs: %v, %v", cpus, err)
			return
		}
		last := cpus[len(cpus)-1]
		if err := PinThread(last); err != nil {
			t.Error(err)
		}
		if now, err := UsableCPUs(); err != nil || !slices.Equal(now, []int{last}) {
			t.Errorf("pinned to %d, usable are %v, %v", last, now, err)
		}
		for _, cpu := range []int{-1, cpuSetSize, cpuSetSize - 1} {
			if err := PinThread(cpu); err == nil {
				t.Errorf("pinned to CPU %d", cpu)
			}
		}
	}()
	<-done
}
