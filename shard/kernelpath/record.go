package kernelpath

import (
	"encoding/binary"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"srtrelay/wire"
)

// Record is the head of a datagram that has passed in the kernel and that user space must
// see: a report, or a data packet that was not the expected one.
type Record struct {
	At    time.Duration // when it passed
	Place uint32        // of the session, in its shard
	Way   int
	Gen   uint32 // generation of the session
	// Next is the sequence number that was expected on the way.
	Next uint32
	// Head is the datagram, or its first 64 bytes (of a NAK 1,472); Length is how long it
	// was, in bytes.
	Head   wire.Packet
	Length int
}

// ringReader reads the records of one shard.
type ringReader struct {
	space  int // for short records
	reader *ringbuf.Reader
	raw    ringbuf.Record
	record Record
}

func (r *ringReader) open(ring *ebpf.Map) (err error) {
	r.space = int(ring.MaxEntries()) / recordMost
	if r.reader, err = ringbuf.NewReader(ring); err == nil {
		r.reader.SetDeadline(time.Unix(1, 0)) // Read does not wait
	}
	return err
}

func (r *ringReader) close() {
	if r.reader != nil {
		_ = r.reader.Close()
	}
}

// Offsets of pathRecord.
const (
	recordAt     = 0
	recordWay    = 8
	recordGen    = 12
	recordNext   = 16
	recordLength = 20
	recordHead   = 22
	recordSize   = 24
	// recordMost is what a record takes of the ring, but that of a NAK: with its head of 64
	// bytes, and the kernel's own of 8.
	recordMost = 8 + recordSize + 64
)

// RecordSpace returns for how many records there is space: of NAKs for less.
func (s *Shard) RecordSpace() int { return s.ring.space }

// Read calls fn for the records that wait, oldest first, at most so many. It returns how
// many there were. A record is valid until fn returns.
func (s *Shard) Read(most int, fn func(*Record)) (n int) {
	one := &s.ring.record
	for ; n < most; n++ {
		if err := s.ring.reader.ReadInto(&s.ring.raw); err != nil {
			return n // os.ErrDeadlineExceeded: there are no more
		}
		b := s.ring.raw.RawSample
		if len(b) < recordSize+wire.HeaderSize {
			continue
		}
		order := binary.NativeEndian
		way := order.Uint32(b[recordWay:])
		*one = Record{
			At: s.path.loopTime(order.Uint64(b[recordAt:])), Place: way/2 - s.base, Way: int(way % 2),
			Gen: order.Uint32(b[recordGen:]), Next: order.Uint32(b[recordNext:]),
			Length: int(order.Uint16(b[recordLength:])),
		}
		head := min(int(order.Uint16(b[recordHead:])), len(b)-recordSize)
		if head < wire.HeaderSize {
			continue
		}
		one.Head = b[recordSize : recordSize+head]
		fn(one)
	}
	return n
}
