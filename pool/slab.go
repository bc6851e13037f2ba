// Package pool is the memory of the data plane: fixed receive slabs, and
// buffers of any length for the few packets that are kept.
//
// It knows bytes and who holds them; nothing of sockets, packets or sessions.
package pool

import "fmt"

const (
	// SingleSize holds one datagram: the 1500 bytes of an Ethernet MTU with
	// margin for tunnels that raise it a little, so that a cut datagram means
	// a jumbo frame and not a full one.
	SingleSize = 2048
	// TrainSize holds any GRO train: the kernel builds none longer than an IP
	// packet's 65535 bytes, and cuts what a smaller buffer cannot take.
	TrainSize = 65536
)

// Slab is a fixed set of equal receive buffers in memory that it is given. It
// belongs to one shard; buffers are never added, returned or freed.
//
// A shard's outboxes are flushed before it receives again, so a slab holds one
// batch and no more:
//
//	bytes per shard = entries of a batch x (size + colour)
//
// which is 8.2 MiB for 128 trains and 424 KiB for 128 single datagrams, whatever
// the number of sessions or sockets.
type Slab struct {
	memory []byte
	size   int
	stride int // from one buffer's beginning to the next
	n      int
}

// colour is by how much more than its size a buffer is apart from the next: a
// full SRT packet in cache lines. Without it buffers of 64 KiB all begin in the
// same sets of the caches, which have eight ways each, and a batch of more
// packets than that would push out its own head before it is sent.
const colour = 21 * 64

// SlabBytes is the memory that n buffers of size bytes need.
func SlabBytes(n, size int) int { return n * (size + colour) }

// NewSlab makes buffers of size bytes, as many as the memory holds. It panics
// unless that is one at least.
func NewSlab(memory []byte, size int) *Slab {
	if size <= 0 || len(memory) < SlabBytes(1, size) {
		panic(fmt.Sprintf("pool: a slab of %d bytes for buffers of %d", len(memory), size))
	}
	return &Slab{memory: memory, size: size, stride: SlabBytes(1, size), n: len(memory) / SlabBytes(1, size)}
}

// Len is the number of buffers.
func (s *Slab) Len() int { return s.n }

// Size is the length of each buffer.
func (s *Slab) Size() int { return s.size }

// Buffer returns buffer i. Its capacity ends where the next buffer begins, so
// an append cannot reach into it.
func (s *Slab) Buffer(i int) []byte {
	start := i * s.stride
	end := start + s.size
	return s.memory[start:end:end]
}
