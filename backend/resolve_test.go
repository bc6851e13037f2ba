package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// names is a name server on the bubble's clock. A name without an entry does
// not exist; stalled ones are never answered.
type names struct {
	mu      sync.Mutex
	entries map[string][]string
	stalled map[string]bool
	asked   map[string][]time.Duration // since the beginning
	begin   time.Time
	told    []string
}

func newNames() *names {
	return &names{entries: map[string][]string{}, stalled: map[string]bool{}, asked: map[string][]time.Duration{}, begin: time.Now()}
}

func (n *names) set(name string, ips ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entries[name] = ips
}

func (n *names) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.entries, name)
}

func (n *names) lookup(ctx context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.asked[host] = append(n.asked[host], time.Since(n.begin))
	entry, ok := n.entries[host]
	stalled := n.stalled[host]
	n.mu.Unlock()
	if stalled {
		<-ctx.Done()
		return nil, &net.DNSError{Err: "read udp 127.0.0.1:40001->127.0.0.53:53: i/o timeout", Name: host, IsTimeout: true}
	}
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var all []netip.Addr
	for _, ip := range entry {
		all = append(all, netip.MustParseAddr(ip))
	}
	return all, nil
}

// watch follows the names of r until the test ends.
func (n *names) watch(t *testing.T, r *Registry, tried func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	tell := func(text string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.told = append(n.told, text)
	}
	run.Go(func() {
		r.ResolveNames(ctx, ResolveOptions{
			Lookup: n.lookup, OnFirst: tried,
			OnMove: func(b Backend) { tell(fmt.Sprintf("%s at %s", b.ID, b.Addr)) },
			OnFail: func(b Backend) { tell(fmt.Sprintf("%s: %s", b.ID, b.Problem)) },
		})
	})
	t.Cleanup(func() { cancel(); run.Wait() })
}

// expect lets a time pass and checks what was told since the last call.
func (n *names) expect(t *testing.T, after time.Duration, want ...string) {
	t.Helper()
	time.Sleep(after) // the bubble's clock
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.told)
	if !slices.Equal(n.told, want) {
		t.Errorf("after %v more: told %q, want %q", after, n.told, want)
	}
	n.told = nil
}

func statics(t *testing.T, hosts ...string) *Registry {
	t.Helper()
	r := NewRegistry()
	if err := r.AddStatic(hosts, noon); err != nil {
		t.Fatal(err)
	}
	return r
}

// A name that does not resolve at start is a backend that is down, and is
// looked up again soon, and then less and less often.
func TestUnresolvedNameIsABackendThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "late.test:10080", "10.0.0.9:1")
		var tried time.Duration
		n.watch(t, r, func() { tried = time.Since(n.begin) })
		n.expect(t, 0, "late.test:10080: name does not resolve: no such host")
		if b := find(t, r, "late.test:10080"); !b.Down || b.Addr.IsValid() || tried != 0 {
			t.Errorf("%+v, tried after %v", b, tried)
		}
		n.expect(t, 61*time.Second)
		s := time.Second
		if got, want := n.asked["late.test"], []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 30 * s, 45 * s, 60 * s}; !slices.Equal(got, want) {
			t.Errorf("looked up at %v, want %v", got, want)
		}
		n.set("late.test", "::ffff:10.0.0.1", "10.0.0.2")
		n.expect(t, maxRetry, "late.test:10080 at 10.0.0.1:10080")
		if b := find(t, r, "late.test:10080"); !b.Down || b.Problem != "" {
			t.Errorf("%+v: up only after its first answer to a probe", b)
		}
	})
}

// One moves only when its address is no longer among its name's, and a name
// server that is away or lies moves nobody.
func TestFollowMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "a.test:1", "10.9.9.9:1")
		n.set("a.test", "10.0.0.1")
		if err := r.Put(Backend{ID: "registered", Source: SourceRegistered, Host: "a.test:1", Addr: netip.MustParseAddrPort("10.7.7.7:1")}); err != nil {
			t.Fatal(err)
		}
		n.watch(t, r, nil)
		n.expect(t, time.Second, "a.test:1 at 10.0.0.1:1")
		r.MarkAlive("a.test:1", 4, noon)
		for _, tt := range []struct {
			name   string
			answer []string // nil: no such host
			want   []string
		}{
			{"as before", []string{"10.0.0.1"}, nil},
			{"still among them", []string{"10.0.0.9", "10.0.0.1"}, nil},
			{"no answer", nil, []string{"a.test:1: name does not resolve: no such host"}},
			{"still none", nil, nil},
			{"no address", []string{}, []string{"a.test:1: name does not resolve: no address"}},
			{"back", []string{"10.0.0.1"}, nil},
			{"elsewhere", []string{"10.0.0.2", "10.0.0.3"}, []string{"a.test:1 at 10.0.0.2:1"}},
			{"another order", []string{"10.0.0.3", "10.0.0.2"}, nil},
			{"a lie", []string{"127.0.0.1"}, []string{"a.test:1: name resolves to 127.0.0.1:1, which is a loopback address, learnt from elsewhere"}},
			{"nowhere", []string{"0.0.0.0"}, []string{"a.test:1: name resolves to 0.0.0.0:1, which is not the address of one host"}},
			{"half a lie", []string{"127.0.0.1", "10.0.0.4"}, []string{"a.test:1 at 10.0.0.4:1"}},
		} {
			if n.set("a.test", tt.answer...); tt.answer == nil {
				n.remove("a.test")
			}
			t.Log(tt.name)
			n.expect(t, refreshInterval, tt.want...)
		}
		if b := find(t, r, "a.test:1"); b.Addr.String() != "10.0.0.4:1" || b.Down || b.KeyLen != 4 || b.Problem != "" {
			t.Errorf("after the moves: %+v", b)
		}
		if b := find(t, r, "registered"); b.Addr.String() != "10.7.7.7:1" {
			t.Errorf("a backend that is not static moved: %+v", b)
		}
	})
}

// A hosts file may name this machine.
func TestNameOfThisMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "localhost:10080")
		n.set("localhost", "127.0.0.1", "::1")
		n.watch(t, r, nil)
		n.expect(t, time.Second, "localhost:10080 at 127.0.0.1:10080")
	})
}

// Names whose name server stalls hold up no others, and end each after a time.
func TestStalledNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []string{"good.test:1"}
		n := newNames()
		n.set("good.test", "10.0.0.1")
		for i := range maxLookups - 1 {
			name := fmt.Sprintf("stalled-%02d.test", i)
			n.stalled[name] = true
			hosts = append(hosts, name+":1")
		}
		r := statics(t, hosts...)
		tried := make(chan time.Duration, 1)
		n.watch(t, r, func() { tried <- time.Since(n.begin) })
		n.expect(t, time.Millisecond, "good.test:1 at 10.0.0.1:1")
		n.mu.Lock()
		n.told = nil
		n.mu.Unlock()
		time.Sleep(lookupTimeout)
		if got := <-tried; got != lookupTimeout {
			t.Errorf("all were tried after %v", got)
		}
		if b := find(t, r, "stalled-00.test:1"); b.Problem != "name does not resolve: the name server does not answer" {
			t.Errorf("%q", b.Problem)
		}
	})
}

func TestReasonOfADNSError(t *testing.T) {
	refused := &net.DNSError{
		UnwrapErr: &net.OpError{Op: "read", Err: syscall.ECONNREFUSED},
		Err:       "read udp 127.0.0.1:33333->127.0.0.1:53: read: connection refused",
	}
	for want, err := range map[string]error{
		"connection refused":              refused,
		"the name server does not answer": context.DeadlineExceeded,
		"server misbehaving":              &net.DNSError{Err: "server misbehaving", Name: "a.test", IsTemporary: true},
		"odd":                             errors.New("odd"),
	} {
		if got := reasonOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
