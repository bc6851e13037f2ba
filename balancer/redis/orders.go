package redis

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"srtrelay/backend"
	"srtrelay/internal/message"
)

// Orders are what operators have ordered for backends while relays run: no new streams
// (drain), and another weight. They are in one hash of Redis, so that they hold at all
// relays and outlive each. Every order has a revision, which Redis counts: of the orders
// for a backend the last one counts, wherever it was given. An order that is lifted stays
// as one that orders nothing, so that a relay that was cut off learns of it.
const (
	ordersKey = "srtrelay-orders"
	// revisionField has the revision of the last order and an epoch, which is another one
	// when the hash is begun anew. No order's field is like it.
	revisionField = "revision"
	// writtenField has the IDs of the last orders that were written, each with its revision: an
	// order whose answer was lost is not written again, after those that came later. No order's
	// field is like it.
	writtenField = "written"
	// maxWritten is how many these are, and maxOrderID the longest ID.
	maxWritten = 64
	maxOrderID = 16
	// maxOrders is how many orders are read: more than two for each backend that can be
	// known.
	maxOrders = 4 * backend.MaxRegistered
	// maxLifted is how many lifted orders stay in Redis.
	maxLifted = 1024
	// maxOrder is the longest order that is read, in bytes.
	maxOrder = 1024
	// maxOrderWeight is the largest weight that is followed.
	maxOrderWeight = 1000
	// maxRevision is the largest revision that is followed: Redis' scripts count in
	// floating point.
	maxRevision = 1 << 52
	// pendingRevision is the revision from which on orders are that are not in Redis yet:
	// they come after all that are.
	pendingRevision = 1 << 62
	// rereadRounds is after how many rounds the orders are read again although their
	// revision is the same: somebody may have changed the hash by hand.
	rereadRounds = 30
)

// orderKind is what an order orders. It begins the field of the order.
type orderKind string

const (
	orderDrain  orderKind = "drain:"
	orderWeight orderKind = "weight:"
)

// orderKey names an order: there is one of a kind for a backend or a name.
type orderKey struct {
	kind orderKind
	id   backend.ID
}

func (k orderKey) field() string { return string(k.kind) + string(k.id) }

// order is an order with its revision.
type order struct {
	orderKey
	orderText
	revision uint64
}

// orderText is an order as Redis has it, behind its revision.
type orderText struct {
	// ID tells the order from all others.
	ID       string `json:"id,omitempty"`
	Draining bool   `json:"draining,omitempty"`
	Weight   int    `json:"weight,omitempty"` // 0 for the configured one
	// Addr is the address of a static backend: another relay may know it by another name.
	Addr string `json:"addr,omitempty"`
	// Relay and Name are the ID and the name of the relay whose operator has ordered it.
	Relay string `json:"relay,omitempty"`
	Name  string `json:"name,omitempty"`
}

// lifted reports whether the order orders nothing.
func (o *order) lifted() bool { return !o.Draining && o.Weight == 0 }

// text returns the order as Redis has it, without the revision.
func (o *order) text() string {
	text, _ := json.Marshal(o.orderText) // strings and numbers cannot fail
	return string(text)
}

// parseOrder returns the order in a field; false if it is none.
func parseOrder(field, value string) (o order, ok bool) {
	for _, kind := range []orderKind{orderDrain, orderWeight} {
		if id, found := strings.CutPrefix(field, string(kind)); found {
			o.orderKey = orderKey{kind, backend.ID(id)}
		}
	}
	revision, text, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(revision, 10, 64)
	if o.id == "" || len(o.id) > maxKey || err != nil || n == 0 || n > maxRevision {
		return order{}, false
	}
	if json.Unmarshal([]byte(text), &o.orderText) != nil || o.Weight < 0 || o.Weight > maxOrderWeight || len(o.ID) > maxOrderID {
		return order{}, false
	}
	o.revision = n
	return o, true
}

// orders are the orders that this relay knows. Any goroutine may use them.
type orders struct {
	name func() string // of this relay

	mu sync.Mutex
	// known are those of Redis, pending those that are not there yet.
	known, pending map[orderKey]order
	given          uint64 // counts the orders that were pending
	revision       string // of Redis when known was read, "" for none
	rounds         int    // since then
	unreadable     int    // when last read
	version        uint64 // counts changes of known and pending

	// Of the last applyOrders.
	appliedTo *backend.Snapshot
	applied   uint64

	// Used by run only.
	refused bool
	pause   int // rounds until the orders are tried again
}

func newOrders(name func() string) *orders {
	if name == nil {
		name = func() string { return "" }
	}
	return &orders{name: name, known: make(map[orderKey]order), pending: make(map[orderKey]order), version: 1}
}

// add notes an order that Redis does not have yet.
func (o *orders) add(k orderKey, text orderText) order {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.given++
	text.ID = newRelayID()
	v := order{k, text, pendingRevision + o.given}
	o.pending[k] = v
	o.version++
	return v
}

// drop forgets an order of add, unless there is a later one.
func (o *orders) drop(v order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pending[v.orderKey] == v {
		delete(o.pending, v.orderKey)
		o.version++
	}
}

// written notes that Redis has an order of add, with a revision.
func (o *orders) written(v order, revision uint64) {
	o.drop(v)
	o.mu.Lock()
	defer o.mu.Unlock()
	v.revision = revision
	if o.known[v.orderKey].revision < revision {
		o.known[v.orderKey] = v
		o.version++
	}
}

// queue returns the orders that Redis does not have yet, the first given first.
func (o *orders) queue() []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	return sortedOrders(o.pending)
}

func sortedOrders(m map[orderKey]order) []order {
	all := make([]order, 0, len(m))
	for _, v := range m {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b order) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.field(), b.field()))
	})
	return all
}

// highest returns the highest revision that is known. Called with mu held.
func (o *orders) highest() (n uint64) {
	for _, v := range o.known {
		n = max(n, v.revision)
	}
	return n
}

// superfluous returns lifted orders that Redis need not keep any more.
func (o *orders) superfluous() []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.DeleteFunc(sortedOrders(o.known), func(v order) bool { return !v.lifted() })
	return all[:max(len(all)-maxLifted, 0)]
}

// merge takes over what was read from Redis at a revision, and returns the orders that Redis
// lacks: it has lost them, or they were written after it was read.
func (o *orders) merge(revision string, read []order, unreadable int) (lost []order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, epoch := splitRevision(revision)
	_, before := splitRevision(o.revision)
	next := make(map[orderKey]order, len(read))
	for _, v := range read {
		next[v.orderKey] = v
	}
	for k, v := range o.known {
		switch in, has := next[k]; {
		case has && in.revision < v.revision, !has && (v.revision > at || epoch != before):
			next[k] = v
			lost = append(lost, v)
		}
	}
	o.known, o.revision, o.rounds, o.unreadable = next, revision, 0, unreadable
	o.version++
	return lost
}

// effective are the orders that count, by what they name.
type effective struct {
	byID   map[orderKey]order
	byAddr map[orderKey]order // with an address in place of the ID
}

// effective returns all orders. Called with mu held.
func (o *orders) effective() effective {
	e := effective{make(map[orderKey]order), make(map[orderKey]order)}
	for _, m := range []map[orderKey]order{o.known, o.pending} {
		for k, v := range m {
			if v.revision > e.byID[k].revision {
				e.byID[k] = v
			}
			at := orderKey{k.kind, backend.ID(v.Addr)}
			if v.Addr != "" && v.revision > e.byAddr[at].revision {
				e.byAddr[at] = v
			}
		}
	}
	return e
}

// find returns the last order of a kind for a backend. name is the ID under which the
// server of a static backend has registered with another relay, "" for none.
func (e *effective) find(kind orderKind, b *backend.Backend, name backend.ID) (last order, found bool) {
	consider := func(m map[orderKey]order, id backend.ID) {
		if v := m[orderKey{kind, id}]; id != "" && v.revision > last.revision {
			last, found = v, true
		}
	}
	consider(e.byID, b.ID)
	consider(e.byID, name)
	if b.Source == backend.SourceStatic {
		consider(e.byID, backend.ID(b.Host)) // all of a name
	}
	if b.Addr.IsValid() {
		consider(e.byAddr, backend.ID(b.Addr.String()))
	}
	return last, found
}

// parseAddr returns the text of a valid address, "" for another text.
func parseAddr(text string) string {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return ""
	}
	return at.String()
}

// splitRevision returns the number and the epoch of a revision as Redis has it, 0 and "" for
// none that can be.
func splitRevision(text string) (n uint64, epoch string) {
	number, epoch, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > maxRevision {
		return 0, ""
	}
	return n, epoch
}

func (o *orders) appendSnapshot(to []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	to = message.AppendBytes(to, sharedRevision, o.revision)
	for _, v := range slices.Concat(sortedOrders(o.known), sortedOrders(o.pending)) {
		out, mark := message.Open(to, sharedOrder)
		out = message.AppendBytes(out, orderField, v.field())
		if v.revision < pendingRevision {
			out = message.AppendUint(out, orderRevision, v.revision)
		}
		to = message.Close(message.AppendBytes(out, orderContent, v.text()), mark)
	}
	return to
}

// readOrder reads an order of a snapshot. It has no revision if Redis does not have it yet.
func readOrder(in *message.Reader) order {
	var field, text string
	var revision uint64
	each(in, func(r *message.Reader) {
		switch r.Number() {
		case orderField:
			field = r.String()
		case orderRevision:
			revision = message.Uint[uint64](r)
		case orderContent:
			text = r.String()
		}
	})
	v, ok := parseOrder(field, strconv.FormatUint(max(revision, 1), 10)+" "+text)
	if !ok {
		in.Refuse("not an order")
	}
	v.revision = revision
	return v
}

// restore takes over the orders of another process, but those that this one knows better.
func (o *orders) restore(all []order, revision string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.revision == "" // Redis has not been read
	if first {
		o.revision = revision
	}
	for _, v := range all {
		switch {
		case v.revision == 0:
			o.given++
			v.ID = cmp.Or(v.ID, newRelayID())
			v.revision = pendingRevision + o.given
			o.pending[v.orderKey] = v
		case v.revision > o.known[v.orderKey].revision && first:
			o.known[v.orderKey] = v
		}
	}
	o.version++
}
