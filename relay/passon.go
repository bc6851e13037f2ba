package relay

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"srtrelay/addr"
	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/shard"
	"srtrelay/shard/relays"
)

const (
	// recountEvery is how often the published sessions are compared with those that there
	// are. Events are faster, but some may be lost.
	recountEvery = time.Minute
	// lostCheck is how often follow looks for lost events.
	lostCheck = 2 * time.Second
	// recountTimeout bounds one comparison.
	recountTimeout = 10 * time.Second
)

// passing connects this relay with others behind the same address: it publishes this
// relay's sessions, and takes and passes on datagrams. Nil does nothing.
type passing struct {
	link     *relays.Link
	sessions *redis.Sessions
	counted  atomic.Bool // the sessions that there were at the start are published
}

// openPassing returns nil unless the configuration has an address for other relays.
func openPassing(c config.Config, shared *redis.Balancer, secrets *handshake.SharedSecrets, p process) *passing {
	if !c.ClusterListen.IsValid() || shared == nil {
		return nil
	}
	f := new(passing)
	f.link = relays.New(relays.Options{
		Listen: c.ClusterListen, Secrets: secrets, Directory: f.find, Supervisor: p.supervisor,
	})
	f.sessions = shared.Sessions(f.published)
	return f
}

// linkOf returns the link for the shards, nil for none.
func (f *passing) linkOf() *relays.Link {
	if f == nil {
		return nil
	}
	return f.link
}

// open opens the socket, unless another process has it still.
func (f *passing) open(takesOver bool) error {
	if f == nil || takesOver {
		return nil
	}
	if err := f.link.Open(); err != nil {
		return fmt.Errorf("--cluster-listen: %w", err)
	}
	return nil
}

// start begins to take datagrams.
func (f *passing) start(group *shard.Group) {
	if f != nil {
		f.link.Start(func(d relays.Datagram) (relays.Counter, bool) { return deliver(group, d) })
	}
}

// stop closes the socket, and start opens it again.
func (f *passing) stop() {
	if f != nil {
		f.link.Close()
	}
}

// published returns the address under which sessions are published: none before the
// sessions are known.
func (f *passing) published() netip.AddrPort {
	if !f.counted.Load() {
		return netip.AddrPort{}
	}
	return f.link.Addr()
}

// address returns where other relays pass datagrams on to, "" for nowhere.
func (f *passing) address() string {
	if f == nil || !f.link.Addr().IsValid() {
		return ""
	}
	return f.link.Addr().String()
}

// find is the link's relays.Directory.
func (f *passing) find(ctx context.Context, flows []relays.Flow) ([]relays.Owner, error) {
	keys, callers := make([]redis.SessionKey, len(flows)), make([]netip.AddrPort, len(flows))
	for i, flow := range flows {
		callers[i] = flow.Caller.Netip()
		if keys[i] = (redis.SessionKey{Port: flow.Listener, ID: flow.ID}); flow.ID == 0 {
			keys[i] = redis.HandshakeKey(flow.Listener, callers[i])
		}
	}
	found, err := f.sessions.Find(ctx, keys, callers)
	if err != nil {
		return nil, err
	}
	owners := make([]relays.Owner, len(flows))
	for i, o := range found {
		if o.At.IsValid() {
			owners[i] = relays.Owner{At: addr.From(o.At), Exact: o.Has(callers[i])}
		}
	}
	return owners, nil
}

// deliver hands a datagram of another relay to the shard that has its session.
func deliver(group *shard.Group, d relays.Datagram) (drop relays.Counter, ok bool) {
	front, local := frontOf(group.Fronts(), d)
	if front < 0 {
		return relays.DropNoListener, false
	}
	switch group.Deliver(front, d.Caller, local, d.Data) {
	case shard.Delivered:
		return 0, true
	case shard.NoSpace:
		return relays.DropBusy, false
	default:
		return relays.DropNoSession, false
	}
}

// frontOf returns the listener that a datagram is for, -1 for none, and the address that the
// caller dialled; zero if the listener has only one. A listener of that port at another
// address is better than none: the datagram's ID and caller say which session it is of.
func frontOf(fronts []netip.AddrPort, d relays.Datagram) (front int, local addr.IP) {
	front = -1
	for i, at := range fronts {
		switch {
		case !at.IsValid() || at.Port() != d.Listener:
		case addr.FromIP(at.Addr()) == d.Local:
			return i, addr.IP{}
		case at.Addr().IsUnspecified() && (at.Addr().Is6() || d.Local.Is4()):
			front, local = i, d.Local
		case front < 0 && !at.Addr().IsUnspecified():
			front = i
		}
	}
	return front, local
}

// note publishes what an event says.
func (f *passing) note(e *shard.Event) {
	if f == nil || e.ListenPort == 0 {
		return
	}
	k := redis.SessionKey{Port: e.ListenPort, ID: e.BackendID}
	switch e.Kind {
	case shard.EventHandshakeBegun:
		f.sessions.HandshakeBegun(e.ListenPort, e.Caller)
	case shard.EventSessionBegun:
		f.sessions.Begun(k, e.Caller)
	case shard.EventSessionEnded:
		f.sessions.Ended(k, e.Caller)
	case shard.EventSessionMigrated:
		f.sessions.Moved(k, e.Former, e.Caller)
	}
}

// follow keeps the published sessions right although events may be lost, until ctx ends.
func (f *passing) follow(ctx context.Context, group *shard.Group) {
	tick := time.NewTicker(lostCheck)
	defer tick.Stop()
	var lost uint64
	var counted time.Time
	for {
		now := eventsLost(group)
		if now != lost || time.Since(counted) >= recountEvery {
			if err := f.recount(ctx, group); err == nil {
				lost, counted = now, time.Now()
				f.counted.Store(true)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func eventsLost(group *shard.Group) (n uint64) {
	for _, s := range group.Stats() {
		n += s.Values[shard.CountEventsLost]
	}
	return n
}

// recount publishes the sessions that the shards have.
func (f *passing) recount(ctx context.Context, group *shard.Group) error {
	limited, cancel := context.WithTimeout(ctx, recountTimeout)
	defer cancel()
	count := f.sessions.Count()
	views := make([]shard.View, 128)
	want := shard.Filter{State: shard.StateEstablished.String()}
	for at, done := (shard.Cursor{}), false; !done; {
		var n int
		var err error
		if n, at, done, err = group.Walk(limited, at, views, want); err != nil {
			return err
		}
		for i := range views[:n] {
			v := &views[i]
			count.Add(redis.SessionKey{Port: v.ListenPort, ID: v.BackendSocket}, v.Caller)
		}
	}
	count.Done()
	return nil
}
