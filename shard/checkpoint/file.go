package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"math"
	"time"
)

// HeaderSize is the size of the header in bytes: one page.
const HeaderSize = 4096

// Steady is for how long a process must have run so that its start counts as one that has not
// failed.
const Steady = 10 * time.Second

// MostFailures is how many starts in a row may fail with a checkpoint. The next one does
// without: what it holds may be what ends them.
const MostFailures = 2

const (
	version   = 1
	maxShards = 1 << 16
)

var (
	magic      = [8]byte{'S', 'R', 'T', 'c', 'h', 'k', 'p', 't'}
	polynomial = crc64.MakeTable(crc64.ECMA)
)

// Offsets in the header. What stands behind the checksum changes.
const (
	atMagic     = 0
	atVersion   = 8
	atSlot      = 12
	atShards    = 16
	atPerShard  = 20
	atPID       = 24
	atNonce     = 32
	atBoot      = 40
	atOrigin    = 56
	atSteer     = 64 // 1 with --steer cpu
	atSum       = 72
	atHeartbeat = 80
	atFailures  = 88
)

// Errors that say why a checkpoint cannot be used.
var (
	ErrForeign   = errors.New("not a checkpoint of srtrelay")
	ErrVersion   = errors.New("of another version")
	ErrTruncated = errors.New("truncated")
	ErrBoot      = errors.New("of another boot of the host")
)

// Header describes a file and the process that writes it.
type Header struct {
	Boot             [16]byte // the kernel's boot ID
	PID              int
	Nonce            uint64        // tells the file from those of other processes
	Shards, PerShard int           // a slot for each place of a session
	SteerByCPU       bool          // see --steer
	Origin           time.Duration // time 0 of the shards by CLOCK_MONOTONIC

	Heartbeat time.Duration // when the process was last alive, by CLOCK_BOOTTIME
	Failures  int           // starts in a row that have not become Steady
}

// Size is that of the header and all slots.
func (h *Header) Size() int64 { return HeaderSize + int64(h.Shards)*int64(h.PerShard)*SlotSize }

// Encode writes the header to the first HeaderSize bytes of a file.
func (h *Header) Encode(b []byte) {
	clear(b[:HeaderSize])
	le := binary.LittleEndian
	le.PutUint32(b[atVersion:], version)
	le.PutUint32(b[atSlot:], SlotSize)
	le.PutUint32(b[atShards:], uint32(h.Shards))
	le.PutUint32(b[atPerShard:], uint32(h.PerShard))
	le.PutUint64(b[atPID:], uint64(h.PID))
	le.PutUint64(b[atNonce:], h.Nonce)
	copy(b[atBoot:], h.Boot[:])
	le.PutUint64(b[atOrigin:], uint64(h.Origin))
	if h.SteerByCPU {
		b[atSteer] = 1
	}
	SetHeartbeat(b, h.Heartbeat)
	SetFailures(b, h.Failures)
	copy(b[atMagic:], magic[:])
	le.PutUint64(b[atSum:], crc64.Checksum(b[:atSum], polynomial))
}

// SetHeartbeat writes that the process was alive at a time of CLOCK_BOOTTIME.
func SetHeartbeat(b []byte, now time.Duration) {
	binary.LittleEndian.PutUint64(b[atHeartbeat:], uint64(now))
}

// SetFailures writes how many starts in a row have failed.
func SetFailures(b []byte, n int) { binary.LittleEndian.PutUint64(b[atFailures:], uint64(n)) }

// WriteFailures is SetFailures for a file that is not mapped.
func WriteFailures(file io.WriterAt, n int) error {
	_, err := file.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(n)), atFailures)
	return err
}

// Decode reads the header of a file of size bytes.
func Decode(b []byte, size int64) (Header, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < HeaderSize:
		return Header{}, ErrTruncated
	case [8]byte(b[atMagic:]) != magic:
		return Header{}, ErrForeign
	case le.Uint32(b[atVersion:]) != version || le.Uint32(b[atSlot:]) != SlotSize:
		return Header{}, ErrVersion
	case le.Uint64(b[atSum:]) != crc64.Checksum(b[:atSum], polynomial):
		return Header{}, ErrForeign
	}
	shards, perShard := le.Uint32(b[atShards:]), le.Uint32(b[atPerShard:])
	if shards == 0 || shards > maxShards || perShard > math.MaxInt32 {
		return Header{}, ErrForeign
	}
	h := Header{
		Boot: [16]byte(b[atBoot:]), PID: int(le.Uint64(b[atPID:])), Nonce: le.Uint64(b[atNonce:]),
		Shards: int(shards), PerShard: int(perShard), SteerByCPU: b[atSteer] == 1,
		Origin:    time.Duration(le.Uint64(b[atOrigin:])),
		Heartbeat: time.Duration(le.Uint64(b[atHeartbeat:])),
		Failures:  int(min(le.Uint64(b[atFailures:]), math.MaxInt32)),
	}
	if size < h.Size() {
		return Header{}, ErrTruncated
	}
	return h, nil
}

// Usable returns nil, or why the sessions of a file cannot go on in a process with so many
// shards, given the present boot ID and CLOCK_BOOTTIME.
func (h *Header) Usable(boot [16]byte, now time.Duration, shards int, steerByCPU bool) error {
	switch {
	case h.Boot != boot:
		return ErrBoot
	case h.Heartbeat < 0 || h.Heartbeat > now || h.Origin <= 0:
		return ErrForeign
	case h.Shards != shards:
		return fmt.Errorf("it has %d shards, this process %d", h.Shards, shards)
	case h.SteerByCPU != steerByCPU:
		return errors.New("callers were spread over the shards in another way (--steer)")
	case h.Failures >= MostFailures:
		return fmt.Errorf("%d starts with it have failed within %v each", h.Failures, Steady)
	}
	return nil
}

// Region returns the slots of a shard in the mapped file.
func (h *Header) Region(file []byte, shard int) Region {
	first := uint64(shard) * uint64(h.PerShard)
	from := HeaderSize + first*SlotSize
	to := from + uint64(h.PerShard)*SlotSize
	return Region{b: file[from:to:to], nonce: h.Nonce, first: first}
}

// Scan calls fn for every whole record in the part b of the file, whose offset is a multiple
// of SlotSize. The record is valid until fn returns. It returns how many others there are.
func (h *Header) Scan(offset int64, b []byte, fn func(shard int, record []byte)) (damaged int) {
	if offset < HeaderSize {
		skip := min(HeaderSize-offset, int64(len(b)))
		offset, b = offset+skip, b[skip:]
	}
	for ; len(b) >= SlotSize && offset+SlotSize <= h.Size(); offset, b = offset+SlotSize, b[SlotSize:] {
		index := uint64(offset-HeaderSize) / SlotSize
		record, empty, whole := read(h.Nonce, index, b[:SlotSize])
		switch {
		case empty:
		case !whole:
			damaged++
		default:
			fn(int(index/uint64(h.PerShard)), record)
		}
	}
	return damaged
}
