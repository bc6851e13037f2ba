package redis

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

func (r *relay) backend(id backend.ID) backend.Backend {
	b, _ := r.reg.Snapshot().Find(id)
	return b
}

// draining waits until a relay has a backend draining, or not.
func (r *relay) draining(id backend.ID, want bool) {
	r.Helper()
	until(r.T, fmt.Sprintf("%s to be draining: %v", id, want), func() bool { b := r.backend(id); return b.ID == id && b.Draining == want })
}

func (r *relay) weight(id backend.ID, want int) {
	r.Helper()
	until(r.T, fmt.Sprintf("%s to have weight %d", id, want), func() bool { b := r.backend(id); return b.Share() == want })
}

func (r *relay) drain(id backend.ID, draining, wantShared bool) {
	r.Helper()
	if known, shared := r.OrderDrain(r.Context(), id, draining); !known || shared != wantShared {
		r.Fatalf("drain %s: known %v, shared %v", id, known, shared)
	}
	if r.backend(id).ID == id && r.backend(id).Draining != draining {
		r.Fatalf("drain %s: no effect here", id)
	}
}

// named names the relay of an operator.
func named(t *testing.T, name string, n int, servers Servers) *relay {
	t.Helper()
	r := openWith(t, n, servers)
	r.orders.name = func() string { return name }
	return r
}

// An order with the last revision leaves none for others: Redis stays in use, and the relay's
// own order holds there.
func TestNoRevisionIsLeft(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a := named(t, "a", 2, at(server.addr)).ready()
	one, two := static(0).ID, static(1).ID
	must(t, server.HSet(t.Context(), ordersKey, "drain:"+string(one), fmt.Sprintf(`%d {"draining":true}`, uint64(maxRevision)), revisionField, "1 ab").Err())
	a.draining(one, true)
	a.drain(two, true, false)
	until(t, "the refusal to be told", func() bool { return a.log.count("refuses drains") == 1 })
	if ok, _, detail := a.State(); !ok || a.log.count("shared state away") > 0 {
		t.Errorf("in use: %v (%s)", ok, detail)
	}
	if !a.backend(two).Draining {
		t.Error("the relay's own order does not hold")
	}
}

// Orders of one relay hold at the others, also at one that starts later, for each kind of
// Redis.
func TestOrdersAreShared(t *testing.T) {
	t.Parallel()
	single := startRedis(t)
	cluster := startCluster(t)
	watched := startRedis(t)
	sentinel := startSentinel(t, watched, "media")
	for name, servers := range map[string]Servers{
		"single":   at(single.addr),
		"cluster":  {Mode: "cluster", Addrs: []string{cluster.addr}},
		"sentinel": {Mode: "sentinel", Addrs: []string{sentinel}, Master: "media"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := named(t, "a", 2, servers).ready(), named(t, "b", 2, servers).ready()
			one, two := static(0).ID, static(1).ID
			a.drain(one, true, true)
			b.draining(one, true)
			if got := b.backend(one); got.OrderedBy != "a" || a.backend(one).OrderedBy != "" {
				t.Errorf("ordered by %q at b, %q at a", got.OrderedBy, a.backend(one).OrderedBy)
			}
			if known, shared := b.OrderWeight(t.Context(), two, 7); !known || !shared {
				t.Errorf("weight: known %v, shared %v", known, shared)
			}
			a.weight(two, 7)
			c := named(t, "c", 2, servers).ready()
			c.draining(one, true)
			c.weight(two, 7)
			b.drain(one, false, true)
			a.draining(one, false)
			c.draining(one, false)
			if got := a.backend(one); got.OrderedBy != "b" {
				t.Errorf("lifted by %q", got.OrderedBy)
			}
			c.OrderWeight(t.Context(), two, 0)
			a.weight(two, 1)
			if known, _ := a.OrderDrain(t.Context(), "nobody", true); known || len(a.orders.queue()) != 0 {
				t.Error("a backend that nobody knows was drained")
			}
		})
	}
}

// While Redis is away an order holds here, and at the others when it is back. The last
// order that Redis got counts.
func TestOrdersWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	link := newLink(t, s.addr)
	a, b := named(t, "a", 2, at(link.addr())).ready(), named(t, "b", 2, at(s.addr)).ready()
	one, two := static(0).ID, static(1).ID
	link.set(true)
	until(t, "Redis to be away", func() bool { ok, _, _ := a.State(); return !ok })
	a.drain(one, true, false)
	a.drain(two, true, false)
	a.drain(two, false, false) // and back: the last one counts
	b.OrderDrain(t.Context(), one, false)
	if b.backend(one).Draining {
		t.Error("an order has got through a cut link")
	}
	link.set(false)
	b.draining(one, true)
	a.draining(one, true)
	if b.backend(two).Draining {
		t.Error("an order that was taken back before has been shared")
	}
	until(t, "nothing to be pending", func() bool { return len(a.orders.queue()) == 0 })
}

// Orders outlive the relay that gave them, and a Redis that has lost its data gets them
// again. An order given before that happens is not forgotten.
func TestOrdersOutliveRelayAndRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := named(t, "a", 3, at(s.addr)).ready(), named(t, "b", 3, at(s.addr)).ready()
	a.drain(static(0).ID, true, true)
	a.drain(static(1).ID, true, true)
	b.draining(static(1).ID, true)
	a.Close()
	must(t, s.FlushAll(t.Context()).Err())
	b.drain(static(1).ID, false, true)
	until(t, "Redis to have the orders again", func() bool {
		all := s.HGetAll(t.Context(), ordersKey).Val()
		return strings.Contains(all["drain:"+string(static(0).ID)], `"draining":true`) && !strings.Contains(all["drain:"+string(static(1).ID)], `"draining":true`)
	})
	c := named(t, "c", 3, at(s.addr)).ready()
	c.draining(static(0).ID, true)
	if c.backend(static(1).ID).Draining {
		t.Error("a lifted drain has come back")
	}
	// A process that takes over goes on with all of it.
	snapshot := c.AppendSnapshot(nil, time.Now())
	d := openWith(t, 3, at("127.0.0.1:1"))
	must(t, d.Restore(snapshot, time.Now()))
	d.draining(static(0).ID, true)
	if d.RelayID() != c.RelayID() {
		t.Error("the relay has another ID after a take-over")
	}
}

// An order for a static backend holds where another relay knows its address by
// registration, and the other way round; the drain of a process ends with the process.
func TestOrdersByAddress(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := named(t, "a", 1, at(s.addr)).ready(), named(t, "b", 0, at(s.addr)).ready()
	id := b.register("one", 30000) // static(0) of a
	a.drain(static(0).ID, true, true)
	b.draining(id, true)
	a.drain(static(0).ID, false, true)
	b.draining(id, false)
	// a learns that the server at its static address is the one that b knows.
	until(t, "a to know the server's name", func() bool { return a.names.keyOf(static(0)) == serverKey(id) })
	b.drain(id, true, true)
	a.draining(static(0).ID, true)
	reg := *b.backend(id).Registration
	reg.PID = "9999"
	_, err := b.reg.Register(reg, netip.MustParseAddrPort("127.0.0.1:30000"), time.Now(), time.Minute)
	must(t, err)
	if b.backend(reg.ID()).Draining {
		t.Error("the process after a drained one is draining")
	}
}

// What others have written into the hash harms nobody.
func TestHostileOrders(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := named(t, "a", 2, at(s.addr)).ready()
	one := string(static(0).ID)
	fields := []any{
		"drain:", `1 {"draining":true}`, "drain:" + one, "no revision", "weight:" + one, `3 {"weight":-5}`,
		"weight:" + string(static(1).ID), `4 {"weight":2000000}`, "x", "y", "drain:" + string(static(1).ID), `99999999999999999999 {"draining":true}`,
		"drain:long", "5 " + strings.Repeat("x", 1<<20), "drain:" + strings.Repeat("y", 1<<16), `6 {"draining":true}`,
		revisionField, "nan",
	}
	for i := range 3000 {
		fields = append(fields, fmt.Sprintf("drain:nobody-%d", i), fmt.Sprintf(`%d {"draining":true}`, i+1))
	}
	// At once: with the same revision, what comes later is read only after rereadRounds.
	must(t, s.HSet(t.Context(), ordersKey, fields...).Err())
	until(t, "the orders to be read", func() bool {
		a.orders.mu.Lock()
		defer a.orders.mu.Unlock()
		return len(a.orders.known) == 3000 && a.orders.unreadable > 0
	})
	for i := range 2 {
		if got := a.backend(static(i).ID); got.Draining || got.Share() != 1 {
			t.Errorf("%+v", got)
		}
	}
	a.drain(static(0).ID, true, true) // a revision that is no number does not matter
	must(t, s.Del(t.Context(), ordersKey).Err())
	must(t, s.Set(t.Context(), ordersKey, "a string", 0).Err())
	until(t, "the log to say that Redis refuses", func() bool { return a.log.count("redis refuses drains") == 1 })
	if ok, _, detail := a.State(); !ok {
		t.Errorf("Redis is not in use any more: %s", detail)
	}
	a.drain(static(1).ID, true, false)
}

// Lifted orders do not fill Redis.
func TestLiftedOrdersAreRemoved(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := named(t, "a", 1, at(s.addr)).ready()
	fields := map[string]any{revisionField: "5000 abc"}
	for i := range maxLifted + 100 {
		fields[fmt.Sprintf("drain:gone-%d", i)] = fmt.Sprintf("%d {}", i+1)
	}
	must(t, s.HSet(t.Context(), ordersKey, fields).Err())
	until(t, "the orders to be read", func() bool { return len(a.orders.superfluous()) == 100 })
	a.drain(static(0).ID, true, true)
	if n := s.HLen(t.Context(), ordersKey).Val(); n != maxLifted+3 { // the revision, and what was written
		t.Errorf("%d fields are left", n)
	}
	if s.HExists(t.Context(), ordersKey, "drain:gone-0").Val() || !s.HExists(t.Context(), ordersKey, "drain:gone-100").Val() {
		t.Error("others than the oldest are gone")
	}
}

// The last order counts, for an ID, a name or an address.
func TestLastOrderCounts(t *testing.T) {
	addr := netip.MustParseAddrPort("10.0.0.1:10080")
	b := &backend.Backend{ID: "10.0.0.1:10080", Source: backend.SourceStatic, Host: "origin.test:10080", Addr: addr}
	other := &backend.Backend{ID: "vid-s-1", Source: backend.SourceRegistered, Host: "10.0.0.1:10080", Addr: addr}
	for name, c := range map[string]struct {
		orders       []order
		static, same bool // whether b and other drain
	}{
		"none":                {nil, false, false},
		"by ID":               {[]order{drainOf("10.0.0.1:10080", 1, true, "")}, true, false},
		"by name":             {[]order{drainOf("origin.test:10080", 1, true, "")}, true, false},
		"by address":          {[]order{drainOf("b", 1, true, "10.0.0.1:10080")}, true, true},
		"by registration":     {[]order{drainOf("vid-s-1", 1, true, "")}, true, true},
		"name, then address":  {[]order{drainOf("origin.test:10080", 1, true, ""), drainOf("10.0.0.1:10080", 2, false, "")}, false, false},
		"address, then name":  {[]order{drainOf("origin.test:10080", 3, true, ""), drainOf("10.0.0.1:10080", 2, false, "")}, true, false},
		"lifted by address":   {[]order{drainOf("10.0.0.1:10080", 2, true, ""), drainOf("c", 3, false, "10.0.0.1:10080")}, false, false},
		"another's":           {[]order{drainOf("10.0.0.2:10080", 1, true, "10.0.0.2:10080")}, false, false},
		"weight is no matter": {[]order{{orderKey{orderWeight, "10.0.0.1:10080"}, orderText{Draining: true}, 9}}, false, false},
	} {
		o := newOrders(nil)
		for _, v := range c.orders {
			o.known[v.orderKey] = v
		}
		all := o.effective()
		if v, _ := all.find(orderDrain, b, "vid-s-1"); v.Draining != c.static {
			t.Errorf("%s: the static backend drains: %v", name, v.Draining)
		}
		if v, _ := all.find(orderDrain, other, "vid-s-1"); v.Draining != c.same {
			t.Errorf("%s: the registered backend drains: %v", name, v.Draining)
		}
	}
}

// The bug: an order whose answer from Redis was lost was written again, and so came after orders
// that other relays had given meanwhile.
func TestOrderWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := named(t, "a", 1, at(s.addr)).ready(), named(t, "b", 1, at(s.addr)).ready()
	one := static(0).ID
	k := orderKey{orderDrain, one}
	lost := a.orders.add(k, orderText{Draining: true})
	must(t, a.writeOrder(t.Context(), lost)) // the answer of which is lost
	b.draining(one, true)
	b.drain(one, false, true)
	last := b.orders.known[k].revision
	must(t, a.writeOrder(t.Context(), lost))
	got, ok := parseOrder(k.field(), s.HGet(t.Context(), ordersKey, k.field()).Val())
	if !ok || got.Draining || got.revision != last {
		t.Errorf("the last order is %+v, want that of revision %d", got, last)
	}
	a.draining(one, false)
	for range 2 * maxWritten {
		b.drain(one, true, true)
	}
	if n := strings.Count(s.HGet(t.Context(), ordersKey, writtenField).Val(), ":"); n != maxWritten {
		t.Errorf("%d orders are remembered", n)
	}
	c := named(t, "c", 1, at(s.addr)).ready()
	c.draining(one, true)
	if c.log.count("cannot be read") > 0 {
		t.Error("what is remembered is taken for an order")
	}
}

func drainOf(id backend.ID, revision uint64, draining bool, addr string) order {
	return order{orderKey{orderDrain, id}, orderText{Draining: draining, Addr: addr}, revision}
}

func FuzzOrder(f *testing.F) {
	f.Add("drain:a", `1 {"draining":true}`)
	f.Add("weight:a", `1 {"weight":3,"addr":"10.0.0.1:1"}`)
	f.Fuzz(func(t *testing.T, field, value string) {
		o, ok := parseOrder(field, value)
		if !ok {
			return
		}
		again, ok := parseOrder(o.field(), fmt.Sprint(o.revision)+" "+o.text())
		if !ok || again != o {
			t.Errorf("%+v is read back as %+v", o, again)
		}
	})
}
