package udp

import (
	"math/rand/v2"

	"srtrelay/addr"
)

const (
	// entryCapacity is how many datagrams an outbox holds. The longer the
	// window, the longer the runs of many sessions that arrived interleaved;
	// at 1024 the plan (about 120 KiB) still fits a core's second-level cache.
	entryCapacity = 1024
	// maxSegments is one less than the 64 of the kernels from 4.18 to 6.8:
	// those before 5.16 count the headers as if they were payload
	// (skb->len > gso_size * UDP_MAX_SEGMENTS) and refuse 64 full ones.
	maxSegments = 63
	// maxPayload is what an IP packet of 65535 bytes can carry behind an IPv6
	// and a UDP header; behind an IPv4 one it would be 20 more, which are less
	// than a segment.
	maxPayload = 65535 - 40 - 8
	// tableSize keeps the index at most half full.
	tableSize = 2 * entryCapacity

	none = -1
)

// entry is one datagram of a plan. Its bytes are borrowed.
type entry struct {
	payload []byte
	next    int32 // entry of the same run
}

// run is entries to one destination from one source address, in the order in
// which they were added: all of the size of the first, the last perhaps
// shorter.
type run struct {
	to          addr.AddrPort
	from        addr.IP
	first, last int32 // entries
	count       int32
	size        int32
	bytes       int32
	closed      bool // takes no more entries
}

// plan arranges datagrams into runs. It is pure: no socket, no system call.
//
// Datagrams to one destination keep their order, because an entry joins only
// the latest run of its destination, and runs leave in the order they were
// begun. Between destinations there is no order to keep.
type plan struct {
	entries []entry
	runs    []run
	// current is the run that took the last entry: in a train most entries
	// follow their predecessor's way.
	current int32
	// table finds the latest run of a destination by open addressing. Slots of
	// another generation are empty, so emptying it is one increment.
	table      [tableSize]slot
	generation uint32
	seed       uint64 // callers choose their addresses
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
	p.current = none
	p.generation++
	if p.generation == 0 { // slots of 2^32 plans ago would come back to life
		clear(p.table[:])
		p.generation = 1
	}
}

// full reports that there is no room for another entry.
func (p *plan) full() bool { return len(p.entries) == cap(p.entries) }

// add appends a datagram; the plan must not be full. Without segment every
// entry is a run of its own.
func (p *plan) add(to *addr.AddrPort, from *addr.IP, payload []byte, segment bool) {
	e := int32(len(p.entries))
	p.entries = append(p.entries, entry{payload: payload, next: none})
	if !segment {
		p.begin(to, from, e)
		return
	}
	if p.current != none && p.runs[p.current].to == *to {
		if !p.join(p.current, from, e) {
			p.find(to).run = p.begin(to, from, e)
		}
		return
	}
	latest := p.find(to)
	if latest.generation == p.generation && p.join(latest.run, from, e) {
		return
	}
	*latest = slot{generation: p.generation, run: p.begin(to, from, e)}
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

// begin starts a run with entry e.
func (p *plan) begin(to *addr.AddrPort, from *addr.IP, e int32) int32 {
	n := int32(len(p.entries[e].payload))
	p.runs = append(p.runs, run{
		to: *to, from: *from, first: e, last: e, count: 1, size: n, bytes: n,
		closed: n == 0, // a superpacket has no empty segments
	})
	p.current = int32(len(p.runs) - 1)
	return p.current
}

// join puts entry e at the end of run i if it fits there.
func (p *plan) join(i int32, from *addr.IP, e int32) bool {
	r, n := &p.runs[i], int32(len(p.entries[e].payload))
	switch {
	case r.closed, n == 0, n > r.size, r.count == maxSegments, r.bytes+n > maxPayload, r.from != *from:
		return false
	}
	p.entries[r.last].next = e
	r.last = e
	r.count++
	r.bytes += n
	r.closed = n < r.size
	p.current = i
	return true
}
