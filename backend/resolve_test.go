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
	records map[string][]*net.SRV
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

// notInUse says of every backend that it has no sessions.
func notInUse(ID) bool { return false }

// setSRV sets the records of a name, each "priority weight port target".
func (n *names) setSRV(name string, records ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = map[string][]*net.SRV{name: nil}
	for _, text := range records {
		var s net.SRV
		if _, err := fmt.Sscan(text, &s.Priority, &s.Weight, &s.Port, &s.Target); err != nil {
			panic(err)
		}
		n.records[name] = append(n.records[name], &s)
	}
}

func (n *names) lookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, ok := n.records[name]
	if !ok {
		return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return name, slices.Clone(all), nil
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
			LookupSRV: n.lookupSRV,
			OnFound:   func(b Backend) { tell(fmt.Sprintf("%s has %s", b.Host, b.ID)) },
			OnLeft:    func(b Backend) { tell(fmt.Sprintf("%s has no more %s", b.Host, b.ID)) },
			OnFail:    func(host, problem string, kept int) { tell(fmt.Sprintf("%s: %s, %d kept", host, problem, kept)) },
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

// listed describes all backends: the ID, with a + if it takes streams like any other,
// and otherwise what is special about it.
func listed(r *Registry) (all []string) {
	for _, b := range r.Snapshot().Backends {
		text := string(b.ID)
		if !b.LeftAt.IsZero() {
			text += " left"
		}
		if b.Backup > 0 {
			text += fmt.Sprintf(" backup %d", b.Backup)
		}
		if b.Weight != 1 {
			text += fmt.Sprintf(" weight %d", b.Weight)
		}
		if b.Draining {
			text += " draining"
		}
		all = append(all, text)
	}
	return all
}

func (n *names) expectListed(t *testing.T, r *Registry, want ...string) {
	t.Helper()
	if got := listed(r); !slices.Equal(got, want) {
		t.Errorf("backends %q, want %q", got, want)
	}
}

// A name that does not resolve at start is a backend that is down, and is
// looked up again soon, and then less and less often.
func TestUnresolvedNameIsABackendThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "late.test:10080", "10.0.0.9:1")
		var tried time.Duration
		n.watch(t, r, func() { tried = time.Since(n.begin) })
		n.expect(t, 0, "late.test:10080: name does not resolve: no such host, 0 kept")
		if b := find(t, r, "late.test:10080"); !b.Down || b.Addr.IsValid() || tried != 0 {
			t.Errorf("%+v, tried after %v", b, tried)
		}
		n.expect(t, 61*time.Second)
		s := time.Second
		if got, want := n.asked["late.test"], []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 30 * s, 45 * s, 60 * s}; !slices.Equal(got, want) {
			t.Errorf("looked up at %v, want %v", got, want)
		}
		r.SetDraining("late.test:10080", true)
		r.SetWeight("late.test:10080", 3)
		n.set("late.test", "::ffff:10.0.0.1", "10.0.0.2")
		n.expect(t, maxRetry, "late.test:10080 has 10.0.0.1:10080", "late.test:10080 has 10.0.0.2:10080")
		n.expectListed(t, r, "10.0.0.1:10080 weight 3 draining", "10.0.0.2:10080 weight 3 draining", "10.0.0.9:1")
		if b := find(t, r, "10.0.0.1:10080"); !b.Down || b.Problem != "" || b.Host != "late.test:10080" {
			t.Errorf("%+v: up only after its first answer to a probe", b)
		}
		// Of a name as of an ID.
		if !r.SetDraining("late.test:10080", false) || r.SetDraining("other.test:10080", false) {
			t.Error("the name is not known, or another is")
		}
		n.expectListed(t, r, "10.0.0.1:10080 weight 3", "10.0.0.2:10080 weight 3", "10.0.0.9:1")
	})
}

// Each address of a name is a backend. It keeps its state while others come and go, and
// while the name server is away or lies.
func TestNameIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "a.test:1", "10.9.9.9:1")
		n.set("a.test", "10.0.0.1")
		if err := r.Put(Backend{ID: "registered", Source: SourceRegistered, Host: "10.0.0.7:1", Addr: netip.MustParseAddrPort("10.0.0.7:1")}); err != nil {
			t.Fatal(err)
		}
		n.watch(t, r, nil)
		n.expect(t, time.Second, "a.test:1 has 10.0.0.1:1")
		r.MarkAlive("10.0.0.1:1", 4, noon)
		others := []string{"10.9.9.9:1", "registered"}
		for _, tt := range []struct {
			name   string
			answer []string // nil: no such host
			told   []string
			want   []string // beside the others
		}{
			{"as before", []string{"10.0.0.1"}, nil, []string{"10.0.0.1:1"}},
			{"one more", []string{"10.0.0.9", "10.0.0.1"}, []string{"a.test:1 has 10.0.0.9:1"}, []string{"10.0.0.1:1", "10.0.0.9:1"}},
			{"no answer", nil, []string{"a.test:1: name does not resolve: no such host, 2 kept"}, []string{"10.0.0.1:1", "10.0.0.9:1"}},
			{"still none", nil, nil, []string{"10.0.0.1:1", "10.0.0.9:1"}},
			{"no address", []string{}, []string{"a.test:1: name does not resolve: no address, 2 kept"}, []string{"10.0.0.1:1", "10.0.0.9:1"}},
			{"back", []string{"10.0.0.1", "10.0.0.9"}, nil, []string{"10.0.0.1:1", "10.0.0.9:1"}},
			{
				"elsewhere",
				[]string{"10.0.0.2", "10.0.0.3"},
				[]string{"a.test:1 has 10.0.0.2:1", "a.test:1 has 10.0.0.3:1", "a.test:1 has no more 10.0.0.1:1", "a.test:1 has no more 10.0.0.9:1"},
				[]string{"10.0.0.1:1 left", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.9:1 left"},
			},
			{"another order", []string{"10.0.0.3", "10.0.0.2"}, nil, []string{"10.0.0.1:1 left", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.9:1 left"}},
			{
				"a lie",
				[]string{"127.0.0.1"},
				[]string{"a.test:1: name resolves to 127.0.0.1:1, which is a loopback address, learnt from elsewhere, 4 kept"},
				[]string{"10.0.0.1:1 left", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.9:1 left"},
			},
			{
				"nowhere",
				[]string{"0.0.0.0"},
				[]string{"a.test:1: name resolves to 0.0.0.0:1, which is not the address of one host, 4 kept"},
				[]string{"10.0.0.1:1 left", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.9:1 left"},
			},
			{
				"half a lie, half home",
				[]string{"127.0.0.1", "10.0.0.1"},
				[]string{"a.test:1 has no more 10.0.0.2:1", "a.test:1 has no more 10.0.0.3:1"},
				[]string{"10.0.0.1:1", "10.0.0.2:1 left", "10.0.0.3:1 left", "10.0.0.9:1 left"},
			},
			{"both families", []string{"fd00::1", "10.0.0.1"}, nil, []string{"10.0.0.1:1", "10.0.0.2:1 left", "10.0.0.3:1 left", "10.0.0.9:1 left"}},
			{"one that registered", []string{"10.0.0.1", "10.0.0.7"}, nil, []string{"10.0.0.1:1", "10.0.0.2:1 left", "10.0.0.3:1 left", "10.0.0.9:1 left"}},
		} {
			if n.set("a.test", tt.answer...); tt.answer == nil {
				n.remove("a.test")
			}
			t.Log(tt.name)
			n.expect(t, refreshInterval, tt.told...)
			n.expectListed(t, r, slices.Concat(tt.want, others)...)
		}
		if b := find(t, r, "10.0.0.1:1"); b.Down || b.KeyLen != 4 || b.Problem != "" {
			t.Errorf("after all of it: %+v", b)
		}
	})
}

// A backend whose address its name has no more stays while it is of use.
func TestBackendThatItsNameHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "a.test:1")
		n.set("a.test", "10.0.0.1", "10.0.0.2", "10.0.0.3")
		n.watch(t, r, nil)
		n.expect(t, time.Second, "a.test:1 has 10.0.0.1:1", "a.test:1 has 10.0.0.2:1", "a.test:1 has 10.0.0.3:1")
		for _, id := range []ID{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"} {
			r.MarkAlive(id, 0, time.Now())
		}
		n.set("a.test", "10.0.0.4")
		time.Sleep(refreshInterval)
		synctest.Wait()
		busy := func(id ID) bool { return id == "10.0.0.2:1" }
		r.MarkDown("10.0.0.1:1")
		r.MarkDownQuiet("10.0.0.2:1")
		if gone := r.ExpireLeft(time.Now(), busy); len(gone) != 1 || gone[0].ID != "10.0.0.1:1" {
			t.Errorf("%+v, want the one that is down and has no sessions", gone)
		}
		if gone := r.ExpireLeft(time.Now().Add(leftKept+time.Second), busy); len(gone) != 1 || gone[0].ID != "10.0.0.3:1" {
			t.Errorf("%+v, want the one that left long ago and has no sessions", gone)
		}
		n.expectListed(t, r, "10.0.0.2:1 left", "10.0.0.4:1")
		if gone := r.ExpireLeft(time.Now(), notInUse); len(gone) != 1 {
			t.Errorf("%+v, want the last one", gone)
		}
	})
}

// Names that share addresses share backends.
func TestNamesWithTheSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "a.test:1", "b.test:1", "10.0.0.3:1")
		r.SetWeight("b.test:1", 5)
		n.set("a.test", "10.0.0.1")
		n.watch(t, r, nil)
		time.Sleep(time.Second)
		n.set("b.test", "10.0.0.1", "10.0.0.3")
		time.Sleep(2 * refreshInterval)
		synctest.Wait()
		n.expectListed(t, r, "10.0.0.1:1", "10.0.0.3:1")
		n.set("a.test", "10.0.0.3")
		time.Sleep(refreshInterval)
		synctest.Wait()
		n.expectListed(t, r, "10.0.0.1:1 weight 5", "10.0.0.3:1")
		if b := find(t, r, "10.0.0.1:1"); b.Host != "b.test:1" {
			t.Errorf("%+v", b)
		}
		n.set("b.test", "10.0.0.4")
		time.Sleep(refreshInterval)
		synctest.Wait()
		n.expectListed(t, r, "10.0.0.1:1 left weight 5", "10.0.0.3:1", "10.0.0.4:1 weight 5")
	})
}

// SRV records bring ports, weights and backups, and a target that does not resolve
// holds up no other.
func TestSRVRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "_srt._udp.media.test"
		n, r := newNames(), statics(t, "srv://"+name)
		n.watch(t, r, nil)
		n.expect(t, 0, "srv://"+name+": name does not resolve: no such host, 0 kept")
		n.set("a.test.", "10.0.0.1")
		n.set("b.test.", "10.0.0.2", "10.0.0.3")
		n.setSRV(name, "10 60 10080 a.test.", "10 20 10081 b.test.", "20 0 10080 a.test.", "30 5 9 10.0.0.9", "30 5 0 a.test.", "30 5 1 .", "20 0 7 b.test.")
		n.expect(t, refreshInterval,
			"srv://"+name+" has 10.0.0.1:10080", "srv://"+name+" has 10.0.0.2:10081", "srv://"+name+" has 10.0.0.2:7",
			"srv://"+name+" has 10.0.0.3:10081", "srv://"+name+" has 10.0.0.3:7")
		n.expectListed(t, r, "10.0.0.1:10080 weight 12", "10.0.0.2:10081 weight 4", "10.0.0.2:7 backup 1", "10.0.0.3:10081 weight 4", "10.0.0.3:7 backup 1")
		n.setSRV(name, "10 1 10080 a.test.", "10 1 10081 b.test.")
		n.remove("b.test.")
		n.expect(t, refreshInterval, "srv://"+name+" has no more 10.0.0.2:7", "srv://"+name+" has no more 10.0.0.3:7")
		n.expectListed(t, r, "10.0.0.1:10080", "10.0.0.2:10081", "10.0.0.2:7 left backup 1", "10.0.0.3:10081", "10.0.0.3:7 left backup 1")
		n.setSRV(name)
		n.expect(t, refreshInterval, "srv://"+name+": name does not resolve: no SRV record, 5 kept")
		n.setSRV(name, "1 1 1 gone.test.")
		n.expect(t, refreshInterval, "srv://"+name+": gone.test: name does not resolve: no such host, 5 kept")
	})
}

// What names may add has a bound.
func TestTooManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "a.test:1")
		var all []string
		for i := range maxFollowed + 3 {
			all = append(all, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
		}
		n.set("a.test", all...)
		n.watch(t, r, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		b := r.Snapshot().Backends[0]
		if len(r.Snapshot().Backends) != maxFollowed || b.Problem != "3 addresses are left out: names have more than 4096 together" {
			t.Errorf("%d backends, problem %q", len(r.Snapshot().Backends), b.Problem)
		}
	})
}

// A hosts file may name this machine.
func TestNameOfThisMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNames(), statics(t, "localhost:10080")
		n.set("localhost", "127.0.0.1", "::1")
		n.watch(t, r, nil)
		n.expect(t, time.Second, "localhost:10080 has 127.0.0.1:10080")
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
		n.expect(t, time.Millisecond, "good.test:1 has 10.0.0.1:1")
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
