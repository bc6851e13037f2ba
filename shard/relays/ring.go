package relays

import (
	"encoding/binary"
	"sync/atomic"

	"srtrelay/addr"
)

// ringSlots is what a lane passes on within a few ms, while the sender serves other lanes.
const ringSlots = 1024

// ring carries frames from a shard's loop to the sender. The loop alone puts, the sender
// alone takes; neither waits for the other.
type ring struct {
	slots atomic.Pointer[[ringSlots]slot] // allocated with the first frame
	_     [56]byte
	next  atomic.Uint64 // frames that were put
	_     [56]byte
	taken atomic.Uint64 // frames that were taken
}

// slot is a frame that is not sealed yet, behind the space for its target.
type slot struct {
	length int
	owner  addr.AddrPort
	bytes  [targetSize + maxFrame]byte
}

// put copies a datagram; false if the ring is full or the datagram too long.
func (r *ring) put(owner addr.AddrPort, d Datagram) bool {
	slots := r.slots.Load()
	if slots == nil {
		slots = new([ringSlots]slot)
		r.slots.Store(slots)
	}
	n := r.next.Load()
	if n-r.taken.Load() >= ringSlots {
		return false
	}
	s := &slots[n%ringSlots]
	if s.length = putDatagram(s.bytes[:], owner, d); s.length == 0 {
		return false
	}
	s.owner = owner
	r.next.Store(n + 1)
	return true
}

// first returns the oldest frame, nil if there is none. It is valid until pop.
func (r *ring) first() *slot {
	n := r.taken.Load()
	if n == r.next.Load() {
		return nil
	}
	return &r.slots.Load()[n%ringSlots]
}

// pop frees the slot of the oldest frame.
func (r *ring) pop() { r.taken.Store(r.taken.Load() + 1) }

// dataBytes returns how long the datagram of the frame is.
func (s *slot) dataBytes() int { return int(binary.BigEndian.Uint16(s.bytes[targetSize+68:])) }
