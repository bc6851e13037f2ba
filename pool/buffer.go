package pool

import "github.com/valyala/bytebufferpool"

// Buffer is a copy of bytes that outlive the batch they arrived in, such as a
// parked handshake. It has one owner at a time, who hands it on or calls Put.
//
// The memory is pooled, the Buffer itself is not: a handle that was put stays
// dead for ever, so using it again is always noticed, even after its memory
// went to someone else.
type Buffer struct {
	memory *bytebufferpool.ByteBuffer
}

// buffers is this module's own pool: its size statistics are then those of
// handshakes, whatever else in the process uses bytebufferpool.
var buffers bytebufferpool.Pool

// Get returns a copy of b. Any goroutine may call it.
func Get(b []byte) *Buffer {
	memory := buffers.Get()
	memory.B = append(memory.B[:0], b...)
	return &Buffer{memory: memory}
}

// Bytes returns the content, which the owner may change in place. It panics
// after Put.
func (b *Buffer) Bytes() []byte {
	if b.memory == nil {
		panic("pool: buffer used after Put")
	}
	return b.memory.B
}

// Put ends the life of b, whose bytes must not be touched again. It panics if
// b was put before.
func Put(b *Buffer) {
	if b.memory == nil {
		panic("pool: buffer put twice")
	}
	memory := b.memory
	b.memory = nil
	buffers.Put(memory)
}
