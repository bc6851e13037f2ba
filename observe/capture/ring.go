package capture

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"srtrelay/addr"
)

// ring is a bounded lock-free queue of records between one shard and one reader: a buffer
// whose size is a power of two, and two positions that only grow. The reader sees records
// after commit, so that a shard makes one atomic store per turn and not per datagram.
//
// Records are contiguous and aligned to 8 bytes. If one does not fit before the end of the
// buffer, a size of 0 says that it is at the beginning.
type ring struct {
	buf  []byte
	mask uint64

	_ [64]byte
	// Used by the shard only.
	head uint64 // end of the records, committed or not
	free uint64 // position up to which the shard may write, as last read from the reader

	_         [64]byte
	committed atomic.Uint64
	_         [64]byte
	read      atomic.Uint64
	_         [64]byte
	// Used by the reader only.
	tail uint64 // end of the records read; the atomic follows it
}

// Layout of a record, in bytes: its size in the ring, the datagram's length,
// the time, How, and four endpoints of 16 bytes of IP and two of port each.
const (
	atSize     = 0
	atLength   = 4
	atHow      = 6
	atTime     = 8
	atEnds     = 16
	endSize    = 18
	recordHead = atEnds + 4*endSize // 88
)

func newRing(size int) ring {
	return ring{buf: make([]byte, size), mask: uint64(size - 1), free: uint64(size)}
}

// put adds a record of a datagram of the given length; data is the part to keep. It returns
// false if there is no room. Shard only.
func (r *ring) put(at time.Duration, how How, e *Ends, length int, data []byte) bool {
	need := uint64(recordHead+len(data)+7) &^ 7
	pos := r.head & r.mask
	gap := uint64(0)
	if left := uint64(len(r.buf)) - pos; left < need {
		gap = left
	}
	if r.free-r.head < gap+need {
		r.free = r.read.Load() + uint64(len(r.buf))
		if r.free-r.head < gap+need {
			return false
		}
	}
	if gap > 0 {
		binary.LittleEndian.PutUint32(r.buf[pos:], 0)
		pos = 0
	}
	b := r.buf[pos : pos+need]
	binary.LittleEndian.PutUint32(b[atSize:], uint32(recordHead+len(data)))
	binary.LittleEndian.PutUint16(b[atLength:], uint16(length))
	b[atHow] = byte(how)
	binary.LittleEndian.PutUint64(b[atTime:], uint64(at))
	putEnd(b[atEnds:], &e.Caller)
	putEnd(b[atEnds+endSize:], &e.Front)
	putEnd(b[atEnds+2*endSize:], &e.Upstream)
	putEnd(b[atEnds+3*endSize:], &e.Backend)
	copy(b[recordHead:], data)
	r.head += gap + need
	return true
}

// putEnd writes an endpoint without its zone, which an IP header does not have.
func putEnd(b []byte, a *addr.AddrPort) {
	copy(b[:16], a.IP[:])
	binary.LittleEndian.PutUint16(b[16:], a.Port)
}

func getEnd(b []byte) (a addr.AddrPort) {
	copy(a.IP[:], b[:16])
	a.Port = binary.LittleEndian.Uint16(b[16:])
	return a
}

// commit makes the records visible to the reader, and reports whether there are new ones.
// Shard only.
func (r *ring) commit() bool {
	if r.committed.Load() == r.head {
		return false
	}
	r.committed.Store(r.head)
	return true
}

// pending reports whether there is a record to read. Reader only.
func (r *ring) pending() bool { return r.committed.Load() != r.tail }

// peek frees the last record read and returns the time of the next one. Reader only.
func (r *ring) peek() (at time.Duration, ok bool) {
	if r.read.Load() != r.tail {
		r.read.Store(r.tail)
	}
	if !r.pending() {
		return 0, false
	}
	pos := r.tail & r.mask
	if binary.LittleEndian.Uint32(r.buf[pos:]) == 0 {
		r.tail += uint64(len(r.buf)) - pos
		pos = 0
	}
	return time.Duration(binary.LittleEndian.Uint64(r.buf[pos+atTime:])), true
}

// take reads the record that peek found. Its data is valid until the next peek. Reader only.
func (r *ring) take(rec *Record) {
	pos := r.tail & r.mask
	size := uint64(binary.LittleEndian.Uint32(r.buf[pos:]))
	b := r.buf[pos : pos+size : pos+size]
	*rec = Record{
		At:     time.Duration(binary.LittleEndian.Uint64(b[atTime:])),
		How:    How(b[atHow]),
		Length: int(binary.LittleEndian.Uint16(b[atLength:])),
		Ends: Ends{
			Caller:   getEnd(b[atEnds:]),
			Front:    getEnd(b[atEnds+endSize:]),
			Upstream: getEnd(b[atEnds+2*endSize:]),
			Backend:  getEnd(b[atEnds+3*endSize:]),
		},
		Data: b[recordHead:],
	}
	r.tail += (size + 7) &^ 7
}
