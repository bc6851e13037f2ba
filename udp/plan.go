package udp

import (
	"math/rand/v2"

	"srtrelay/addr"
)

const (
	// entryCapacity is how many datagrams an outbox holds. The more it holds,
	// the longer are the runs of sessions whose datagrams arrived interleaved,
	// but the plan must fit a core's second-level cache (TestPlanFitsTheCache).
	entryCapacity = 1024
	// maxSegments is one less than the 64 of the kernels from 4.18 to 6.8:
	// those before 5.16 count the headers as if they were payload
	// (skb->len > gso_size * UDP_MAX_SEGMENTS) and refuse 64 full ones.
	maxSegments = 63
	// maxPayload is what an IP packet of 65535 bytes can carry after an IPv6
	// and a UDP header. After an IPv4 header it could be 20 bytes more, less
	// than a segment.
	maxPayload = 65535 - 40 - 8
	// tableSize keeps the table at most half full.
	tableSize = 2 * entryCapacity

	// lookBack is how many of a destination's latest runs an entry may join: one
	// of full data packets, and those of two or three sizes of control packets.
	lookBack = 4

	none = -1
)

// entry is one datagram of a plan. It borrows its bytes.
type entry struct {
	payload []byte
	flow    uint32
	next    int32 // entry of the same run
}

// run is entries to one destination from one source address, in the order in
// which they were added. All have the size of the first; the last may be
// shorter.
type run struct {
	to          addr.AddrPort
	from        addr.IP
	first, last int32 // entries
	count       int32 // 0 after fold moved its entry
	size        int32
	bytes       int32
	before      int32  // the destination's previous run, or none
	flows       uint64 // the flowBits of its entries
	closed      bool   // takes no more entries
}

// plan arranges datagrams into runs. It is pure: no socket, no system call.
//
// Datagrams of one flow to one destination keep their order: an entry joins a
// run only if no later run of the destination has an entry of its flow, and
// runs leave in the order in which they began. There is no order between flows:
// small control packets between full data packets do not end the run of full
// ones, but form a run of their own.
type plan struct {
	entries []entry
	runs    []run
	// last is the slot of the last entry's destination, which most entries
	// share with their predecessor.
	last *slot
	// table finds the latest run of a destination by open addressing. Slots of
	// another generation are empty, so one increment empties the table.
	table      [tableSize]slot
	generation uint32
	seed       uint64 // callers must not choose what collides
}

type slot struct {
	generation uint32
	run        int32
}

func (p *plan) init() {
	p.entries = make([]entry, 0, entryCapacity)
	p.runs = make([]run, 0, entryCapacity)
	p.seed = rand.Uint64()
	p.reset()
}

// reset forgets all entries.
func (p *plan) reset() {
	p.entries = p.entries[:0]
	p.runs = p.runs[:0]
	p.last = nil
	p.generation++
	if p.generation == 0 { // slots of 2^32 plans ago would count as filled
		clear(p.table[:])
		p.generation = 1
	}
}

// full reports whether there is no room for another entry.
func (p *plan) full() bool { return len(p.entries) == cap(p.entries) }

// add appends a datagram; the plan must not be full. Without segment every
// entry is a run of its own.
func (p *plan) add(to *addr.AddrPort, from *addr.IP, flow uint32, payload []byte, segment bool) {
	e := int32(len(p.entries))
	p.entries = append(p.entries, entry{payload: payload, flow: flow, next: none})
	if !segment {
		p.begin(to, from, e, none)
		return
	}
	if p.last == nil || p.runs[p.last.run].to != *to {
		p.last = p.find(to)
	}
	if p.last.generation != p.generation {
		*p.last = slot{generation: p.generation, run: p.begin(to, from, e, none)}
		return
	}
	latest := p.last.run
	for i, looked := latest, 0; i != none && looked < lookBack; i, looked = p.runs[i].before, looked+1 {
		if p.fits(i, from, e) && (p.longest(i, e) || i == latest && p.alone(i, flow)) {
			p.join(i, e)
			return
		}
		if p.has(i, flow) {
			break // this entry must not overtake one of its own flow
		}
	}
	p.last.run = p.begin(to, from, e, latest)
}

// find returns the slot of a destination's latest run, or the empty one where
// it belongs.
func (p *plan) find(to *addr.AddrPort) *slot {
	for i := to.Hash(p.seed); ; i++ {
		s := &p.table[i%tableSize]
		if s.generation != p.generation || p.runs[s.run].to == *to {
			return s
		}
	}
}

// begin starts a run with entry e; before is the destination's previous run.
func (p *plan) begin(to *addr.AddrPort, from *addr.IP, e, before int32) int32 {
	n := int32(len(p.entries[e].payload))
	p.runs = append(p.runs, run{
		to: *to, from: *from, first: e, last: e, count: 1, size: n, bytes: n,
		before: before, flows: flowBit(p.entries[e].flow),
		closed: n == 0, // a superpacket has no empty segments
	})
	return int32(len(p.runs) - 1)
}

// fits reports whether run i can take entry e.
func (p *plan) fits(i int32, from *addr.IP, e int32) bool {
	r, n := &p.runs[i], int32(len(p.entries[e].payload))
	return !r.closed && n > 0 && n <= r.size && r.count < maxSegments && r.bytes+n <= maxPayload && r.from == *from
}

// longest reports whether entry e has the full size of run i, which then takes
// more entries.
func (p *plan) longest(i, e int32) bool { return int32(len(p.entries[e].payload)) == p.runs[i].size }

// join puts entry e, which fits, at the end of run i.
func (p *plan) join(i, e int32) {
	r, n := &p.runs[i], int32(len(p.entries[e].payload))
	p.entries[r.last].next = e
	r.last = e
	r.count++
	r.bytes += n
	r.flows |= flowBit(p.entries[e].flow)
	r.closed = n < r.size
}

// fold appends every run of one entry to the destination's previous run, if it
// fits there, which saves a message. It keeps the order.
func (p *plan) fold() {
	for i := range p.runs {
		r := &p.runs[i]
		if r.count == 1 && r.before != none && p.runs[r.before].count > 0 && p.fits(r.before, &r.from, r.first) {
			p.join(r.before, r.first)
			r.count = 0
		}
	}
}

// flowBit is a flow's bit in run.flows. Two flows may share a bit.
func flowBit(flow uint32) uint64 { return 1 << (flow * 0x9E3779B1 >> 26) }

// has reports whether run i has an entry of the flow.
func (p *plan) has(i int32, flow uint32) bool {
	r := &p.runs[i]
	if r.flows&flowBit(flow) == 0 {
		return false
	}
	for e := r.first; e != none; e = p.entries[e].next {
		if p.entries[e].flow == flow {
			return true
		}
	}
	return false
}

// alone reports whether all entries of run i seem to be of the flow, judging by
// their bits: then a shorter entry of it may end the run.
func (p *plan) alone(i int32, flow uint32) bool { return p.runs[i].flows == flowBit(flow) }
