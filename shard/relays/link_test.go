package relays

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// relayTest is one relay of a test, whose shard is a goroutine.
type relayTest struct {
	*Link
	lane  *Lane
	tasks chan func(time.Duration)
	got   chan Datagram
}

// startRelay starts a relay on the loopback. find returns the owner of every flow.
func startRelay(t *testing.T, secrets *handshake.SharedSecrets, find func() (Owner, error)) *relayTest {
	t.Helper()
	r := &relayTest{tasks: make(chan func(time.Duration), 64), got: make(chan Datagram, 4096)}
	r.Link = New(Options{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Secrets: secrets,
		Directory: func(_ context.Context, flows []Flow) ([]Owner, error) {
			o, err := find()
			all := make([]Owner, len(flows))
			for i := range all {
				all[i] = o
			}
			return all, err
		},
	})
	r.lane = r.Lane(func(fn func(time.Duration)) bool { r.tasks <- fn; return true })
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	r.Start(func(d Datagram) (Counter, bool) {
		d.Data = append([]byte(nil), d.Data...)
		r.got <- d
		return 0, true
	})
	t.Cleanup(r.Close)
	return r
}

func shared(b byte) *handshake.SharedSecrets {
	s := new(handshake.SharedSecrets)
	s.Publish([]handshake.Secret{{b}})
	return s
}

func nobody() (Owner, error) { return Owner{}, nil }

// await waits until a counter has a value.
func (r *relayTest) await(t *testing.T, k Counter, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); r.Stats()[k] < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v is %d, want %d; all %v", k, r.Stats()[k], n, r.Stats())
		}
	}
}

// What one relay passes on arrives at the owner, unchanged and in order.
func TestPassingOn(t *testing.T) {
	secrets := shared(1)
	b := startRelay(t, secrets, nobody)
	a := startRelay(t, secrets, func() (Owner, error) { return Owner{At: addr.From(b.Addr()), Exact: true}, nil })
	const n = 500
	datagram := func(i int) []byte {
		d := make([]byte, wire.HeaderSize+i)
		d[0], d[1] = byte(i), byte(i>>8)
		return d
	}
	if a.lane.Pass(time.Second, flow(1), here, datagram(0)) != OutcomeHeld {
		t.Fatal("not held")
	}
	(<-a.tasks)(time.Second)
	const window = 50 // no socket's buffer overflows
	for i := range n {
		for k := max(i, 1); i%window == 0 && k < i+window; k++ {
			if a.lane.Pass(time.Second, flow(1), here, datagram(k)) != OutcomePassed {
				t.Fatalf("datagram %d is not passed on", k)
			}
		}
		d := <-b.got
		if d.Caller != caller4 && d.Caller != flow(1).Caller || d.Local != here || d.Listener != 20080 || string(d.Data) != string(datagram(i)) {
			t.Fatalf("datagram %d: %+v", i, d)
		}
	}
	a.await(t, CountSent, n) // counted after it was sent
	if s := a.Stats(); s[CountSent] != n || s[CountLookups] != 1 || s[CountLookupsFound] != 1 {
		t.Errorf("sender %v", s)
	}
	b.await(t, CountDelivered, n)
}

// Every burst bears the present time: while a lane is never empty, the first one's would soon be
// stale.
func TestEveryBurstBearsTheTime(t *testing.T) {
	b := startRelay(t, shared(1), nobody)
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := New(Options{Secrets: shared(1)})
	lane := a.Lane(nil)
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: make([]byte, 100)}
	for range sendBurst + 1 {
		lane.ring.put(addr.From(b.Addr()), d)
	}
	if keys := (&keyring{secrets: a.o.Secrets}); !a.sendBurst(conn, lane, keys) || a.sendBurst(conn, lane, keys) {
		t.Error("not two bursts")
	}
	b.await(t, CountDelivered, sendBurst+1)
}

// What does not come from a relay with the secret goes nowhere.
func TestStrangersReachNoShard(t *testing.T) {
	b := startRelay(t, shared(1), nobody)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: make([]byte, 100)}
	send := func(b []byte) {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Unix()
	target := addr.From(b.Addr())
	good := sealed(t, someKey, target, d, stamp{9, 1, now})[targetSize:]
	send([]byte("hello"))
	send(make([]byte, 1400))
	send(sealed(t, frameKeyOf(handshake.Secret{2}), target, d, stamp{9, 1, now})[targetSize:])
	send(sealed(t, someKey, other, d, stamp{9, 1, now})[targetSize:])
	send(sealed(t, someKey, target, d, stamp{9, 1, now - 3600})[targetSize:])
	send(good)
	send(good)
	send(append(good, make([]byte, 2000)...)) // longer than any frame
	for k, n := range map[Counter]uint64{DropShort: 2, DropVersion: 1, DropSecret: 1, DropAuthenticator: 1, DropStale: 1, DropReplayed: 1, CountDelivered: 1} {
		b.await(t, k, n)
	}
	if len(b.got) != 1 {
		t.Errorf("%d datagrams reached a shard", len(b.got))
	}
}

// The bug: a receiver that was started again, as after a take-over that has failed or a panic,
// took what it had received before once more.
func TestReplaysAfterARestart(t *testing.T) {
	b := startRelay(t, shared(1), nobody)
	at := b.Addr()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: make([]byte, 100)}
	frame := sealed(t, someKey, addr.From(at), d, stamp{9, 1, time.Now().Unix()})[targetSize:]
	send := func() {
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	send()
	b.await(t, CountDelivered, 1)
	b.Close()
	b.o.Listen = at
	b.Start(func(Datagram) (Counter, bool) { return 0, true })
	for !b.Addr().IsValid() {
		time.Sleep(time.Millisecond)
	}
	send()
	b.await(t, DropReplayed, 1)
	if n := b.Stats()[CountDelivered]; n != 1 {
		t.Errorf("delivered %d times", n)
	}
}

// A secret can be changed in place.
func TestSecretChangesInPlace(t *testing.T) {
	here, there := shared(1), shared(1)
	b := startRelay(t, there, nobody)
	a := startRelay(t, here, nobody)
	a.lane.answer(0, flow(1), Owner{At: addr.From(b.Addr()), Exact: true}, nil)
	pass := func() { a.lane.Pass(time.Millisecond, flow(1), addr.IP{}, make([]byte, 100)) }
	pass()
	b.await(t, CountDelivered, 1)
	there.Publish([]handshake.Secret{{1}, {2}})
	here.Publish([]handshake.Secret{{2}, {1}})
	pass()
	b.await(t, CountDelivered, 2)
	there.Publish([]handshake.Secret{{3}})
	pass()
	b.await(t, DropSecret, 1)
	here.Publish(nil)
	pass()
	a.await(t, DropUnsent, 1)
}

// Another process may have the socket still. This one opens it as soon as it can, and a
// link that was closed begins again.
func TestTheSocketChangesHands(t *testing.T) {
	secrets := shared(1)
	first := startRelay(t, secrets, nobody)
	second := New(Options{Listen: first.Addr(), Secrets: secrets})
	got := make(chan Datagram, 1)
	second.Start(func(d Datagram) (Counter, bool) { got <- d; return 0, true })
	var stop sync.Once
	t.Cleanup(func() { stop.Do(second.Close) })
	at := first.Addr()
	first.Close()
	for !second.Addr().IsValid() {
		time.Sleep(time.Millisecond)
	}
	if second.Addr() != at {
		t.Errorf("at %v, the first one was at %v", second.Addr(), at)
	}
	stop.Do(second.Close)
	first.Link.o.Listen = at
	first.Start(func(Datagram) (Counter, bool) { return 0, true })
	for !first.Addr().IsValid() {
		time.Sleep(time.Millisecond)
	}
}

// Redis that does not answer costs nobody but those who ask.
func TestDirectoryAway(t *testing.T) {
	a := startRelay(t, shared(1), func() (Owner, error) { return Owner{}, errAway })
	a.lane.Pass(time.Second, flow(1), here, make([]byte, 100))
	(<-a.tasks)(time.Second)
	if s := a.Stats(); s[CountLookupsAway] != 1 || s[DropUnowned] != 1 {
		t.Errorf("%v", s)
	}
}
