package pool

import "github.com/valyala/bytebufferpool"

// Buffer is a copy of bytes that outlive the batch they arrived in, such as a
// parked handshake. It has one owner at a time, who hands it on or calls Put.
//
// The memory is pooled, the Buffer itself is not: after Put a Buffer stays
// invalid, so that any use of it panics, even once its memory has another
// owner.
type Buffer struct {
	memory *bytebufferpool.ByteBuffer
}

// buffers is a pool of this package's own, because bytebufferpool calibrates a
// pool by the sizes it sees: here these are handshakes only.
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

// Put gives the memory of b back; its bytes must not be touched any more. It
// panics if b was put before.
func Put(b *Buffer) {
	if b.memory == nil {
		panic("pool: buffer put twice")
	}
	memory := b.memory
	b.memory = nil
	buffers.Put(memory)
}
