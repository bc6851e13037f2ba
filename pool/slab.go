// Package pool is the memory of the data plane: slabs to receive into, and
// buffers of any length for the few packets that are kept.
//
// It knows bytes and who owns them; nothing of sockets, packets or sessions.
package pool

import "fmt"

const (
	// SingleSize holds one datagram: the 1500 bytes of an Ethernet MTU, and some
	// more for tunnels that raise it a little. Only a jumbo frame is truncated.
	SingleSize = 2048
	// TrainSize holds any GRO train: the kernel builds none longer than an IP
	// packet of 65535 bytes, and truncates it to a smaller buffer.
	TrainSize = 65536
)

// Slab is a fixed set of equal receive buffers, cut from memory that the caller
// gives. It belongs to one shard; buffers are never added, returned or freed.
//
// A shard flushes its outboxes before it receives again, so it needs one slab
// of one batch, whatever the number of sessions or sockets.
type Slab struct {
	memory []byte
	size   int
}

// NewSlab makes buffers of size bytes, as many as the memory holds. It panics
// if the memory does not hold one.
func NewSlab(memory []byte, size int) *Slab {
	if size <= 0 || len(memory) < size {
		panic(fmt.Sprintf("pool: slab of %d bytes for buffers of %d", len(memory), size))
	}
	return &Slab{memory: memory, size: size}
}

// Size is the length of each buffer.
func (s *Slab) Size() int { return s.size }

// Buffer returns buffer i. Its capacity ends where the next buffer begins, so
// an append cannot reach into it.
func (s *Slab) Buffer(i int) []byte {
	start := i * s.size
	end := start + s.size
	return s.memory[start:end:end]
}
