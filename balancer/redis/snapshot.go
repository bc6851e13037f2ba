package redis

import (
	"fmt"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/internal/message"
)

// snapshotVersion is the version of what Balancer.AppendSnapshot writes.
const snapshotVersion = 1

// Fields of the snapshot of a Balancer.
const (
	sharedReached   message.Number = 2
	sharedPublished message.Number = 3
	sharedProxyKeys message.Number = 4
	sharedBackend   message.Number = 5 // an ID; before the bindings that refer to it
	sharedLive      message.Number = 6
	sharedRelayID   message.Number = 7
	sharedOrder     message.Number = 8
	sharedRevision  message.Number = 9  // of the orders
	sharedSecrets   message.Number = 20 // the first one makes cookies
)

// Fields of the key of a server that this relay has written.
const (
	publishedKey     message.Number = 1
	publishedExpires message.Number = 2
)

// Fields of the proxy keys of a stream.
const (
	proxyKeysStream message.Number = 1
	proxyKeysKey    message.Number = 2
)

// Fields of a live binding. Ages are in rounds, plus 1.
const (
	liveStream    message.Number = 1
	liveGroup     message.Number = 2
	liveAt        message.Number = 3 // index of the backend plus 1
	liveAnnounced message.Number = 4
	livePublished message.Number = 5
)

// Fields of an order.
const (
	orderField    message.Number = 1
	orderRevision message.Number = 2 // missing for one that Redis does not have yet
	orderContent  message.Number = 3
)

// AppendSnapshot appends what a process that takes over cannot learn from Redis, or not at
// once: the keys that this relay has written, its ID, the orders of operators, the proxy keys
// that it renews, and where the relays have announced streams, which matters while Redis is
// away. Sessions and bindings
// are in the snapshot of the Memory. boot is when CLOCK_MONOTONIC was 0, by the clock of
// this process.
func (b *Balancer) AppendSnapshot(to []byte, boot time.Time) []byte {
	to = message.AppendVersion(to, snapshotVersion)
	to = message.AppendBool(to, sharedReached, b.circuit.wasReached())
	for key, expires := range b.handover.published() {
		out, mark := message.Open(to, sharedPublished)
		out = message.AppendBytes(out, publishedKey, key)
		to = message.Close(message.AppendInstant(out, publishedExpires, expires, boot), mark)
	}
	to = message.AppendBytes(to, sharedRelayID, b.RelayID())
	to = b.orders.appendSnapshot(to)
	to = b.proxyKeys.appendSnapshot(to)
	for _, s := range b.secret.snapshot() {
		to = message.AppendBytes(to, sharedSecrets, s[:])
	}
	return b.announcer.live.appendSnapshot(to)
}

func (p *proxyKeys) appendSnapshot(to []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, all := range p.byKey {
		out, mark := message.Open(to, sharedProxyKeys)
		out = message.AppendBytes(out, proxyKeysStream, stream)
		for _, key := range all {
			out = message.AppendBytes(out, proxyKeysKey, key)
		}
		to = message.Close(out, mark)
	}
	return to
}

func (l *liveBindings) appendSnapshot(to []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := make(map[backend.ID]uint32)
	for _, v := range l.byKey {
		if index[v.at] == 0 {
			index[v.at] = uint32(len(index) + 1)
			to = message.AppendBytes(to, sharedBackend, v.at)
		}
	}
	for key, v := range l.byKey {
		out, mark := message.Open(to, sharedLive)
		out = message.AppendBytes(out, liveStream, key.Stream)
		out = message.AppendUint(out, liveGroup, key.Group)
		out = message.AppendUint(out, liveAt, index[v.at])
		out = message.AppendUint(out, liveAnnounced, l.round-v.announced+1)
		if v.published > 0 {
			out = message.AppendUint(out, livePublished, l.round-v.published+1)
		}
		to = message.Close(out, mark)
	}
	return to
}

// restored is what a snapshot says.
type restored struct {
	reached   bool
	published map[string]time.Time
	proxyKeys []backend.Query // with Key and ProxyKey
	backends  []backend.ID
	live      []restoredBinding
	relayID   string
	orders    []order // without a revision: pending
	revision  string  // of the orders
	secrets   []Secret
}

type restoredBinding struct {
	key                  balancer.AffinityKey
	at                   backend.ID
	announced, published uint32 // ages plus 1; 0 for none
}

// Restore goes on as the process that appended a snapshot. It does not wait for Redis: all
// bindings of the Memory, which must have been restored before, as well as the registry,
// are renewed in the background at once. After an error nothing has changed.
func (b *Balancer) Restore(text []byte, boot time.Time) error {
	all := restored{published: make(map[string]time.Time)}
	r, err := message.ReadVersion(text, snapshotVersion, snapshotVersion)
	for err == nil && r.Next() {
		all.field(&r, boot)
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the shared state: %w", err)
	}
	if all.reached {
		b.circuit.noteReached()
	}
	for _, q := range all.proxyKeys {
		b.proxyKeys.note(q)
	}
	for _, v := range all.live {
		if v.published > 0 {
			b.announcer.live.note(v.key, v.at, true, v.published-1)
		}
		b.announcer.live.note(v.key, v.at, false, v.announced-1)
	}
	if all.relayID != "" {
		b.relayID.Store(&all.relayID)
	}
	b.orders.restore(all.orders, all.revision)
	b.secret.restore(all.secrets, time.Now())
	b.handover.setPublished(all.published)
	return nil
}

func (a *restored) field(r *message.Reader, boot time.Time) {
	switch r.Number() {
	case sharedReached:
		a.reached = r.Bool()
	case sharedPublished:
		var key string
		var expires time.Time
		each(r, func(r *message.Reader) {
			switch r.Number() {
			case publishedKey:
				key = r.String()
			case publishedExpires:
				expires = r.Instant(boot)
			}
		})
		a.published[key] = expires
	case sharedProxyKeys:
		var q backend.Query
		each(r, func(r *message.Reader) {
			switch r.Number() {
			case proxyKeysStream:
				q.Key = r.String()
			case proxyKeysKey:
				q.ProxyKey = r.String()
				a.proxyKeys = append(a.proxyKeys, q)
			}
		})
	case sharedBackend:
		a.backends = append(a.backends, backend.ID(r.String()))
	case sharedLive:
		a.liveBinding(r)
	case sharedRelayID:
		a.relayID = clipped(r.String())
	case sharedRevision:
		a.revision = clipped(r.String())
	case sharedOrder:
		a.orders = append(a.orders, readOrder(r))
	case sharedSecrets:
		var s Secret
		if copy(s[:], r.Bytes()) != len(s) || len(r.Bytes()) != len(s) {
			r.Refuse("no secret")
		}
		a.secrets = append(a.secrets, s)
	}
}

func (a *restored) liveBinding(in *message.Reader) {
	var v restoredBinding
	each(in, func(r *message.Reader) {
		switch r.Number() {
		case liveStream:
			v.key.Stream = r.String()
		case liveGroup:
			v.key.Group = message.Uint[uint32](r)
		case liveAt:
			k := message.Uint[uint32](r)
			if k == 0 || uint64(k) > uint64(len(a.backends)) {
				r.Refuse("no such backend")
				return
			}
			v.at = a.backends[k-1]
		case liveAnnounced:
			v.announced = message.Uint[uint32](r)
		case livePublished:
			v.published = message.Uint[uint32](r)
		}
	})
	if v.key == (balancer.AffinityKey{}) || v.at == "" || v.announced == 0 {
		in.Refuse("a live binding without a key, a backend or a time")
		return
	}
	a.live = append(a.live, v)
}

// each calls fn for every field of the message in the present field.
func each(r *message.Reader, fn func(*message.Reader)) {
	inner := message.Read(r.Bytes())
	for inner.Next() {
		fn(&inner)
	}
	r.Fail(inner.Err())
}
