package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math"
	"time"

	"srtrelay/addr"
)

const (
	// HeaderSize is the offset of the records in bytes: a multiple of every page size,
	// so that the header has pages of its own.
	HeaderSize = 64 << 10
	// MaxListen is how many listen addresses the header has room for, which is how many
	// a record can name.
	MaxListen = math.MaxUint8 + 1
	// MaxAge is the greatest age of the last heartbeat at which callers get a SHUTDOWN.
	// A libsrt caller gives up after 5 s of silence. After twice that time no caller is
	// left, and its address may belong to another host.
	MaxAge = 10 * time.Second
	// HeartbeatEvery is the interval of heartbeats.
	HeartbeatEvery = time.Second

	version   = 1
	maxShards = 1 << 20 // more than any relay has
)

var magic = [8]byte{'S', 'R', 'T', 'L', 'E', 'D', 'G', 'R'}

// Offsets in the header. The heartbeat changes, so it is not part of the checksum.
const (
	atMagic     = 0
	atVersion   = 8
	atRecord    = 12
	atShards    = 16
	atPerShard  = 20
	atPID       = 24
	atNonce     = 32
	atBoot      = 40
	atListens   = 56
	atHeaderSum = 64
	atHeartbeat = 72
	atListen    = 128
	listenSize  = 24
)

// Header says which process wrote the file, and what is in it.
type Header struct {
	// Boot is the kernel's boot ID. The clock of Heartbeat starts at boot.
	Boot [16]byte
	PID  int
	// Nonce is random, and part of every checksum.
	Nonce uint64
	// Shards is the number of regions, PerShard the number of records in each.
	Shards, PerShard int
	// Listen are the listen addresses, by Record.Listener.
	Listen []addr.AddrPort
	// Heartbeat is when the process was last alive, by CLOCK_BOOTTIME. Encode writes
	// the first one, SetHeartbeat the others.
	Heartbeat time.Duration
}

// Reasons not to use a file.
var (
	ErrNoLedger  = errors.New("no session ledger, or a damaged one")
	ErrVersion   = errors.New("written by another version")
	ErrTruncated = errors.New("truncated")
	ErrBoot      = errors.New("from before the host's last start")
	ErrOld       = errors.New("too old: its callers have given up by themselves")
)

// Size is that of the whole file in bytes.
func (h *Header) Size() int64 {
	return HeaderSize + int64(h.Shards)*int64(h.PerShard)*RecordSize
}

// Encode writes the header to the first HeaderSize bytes of a file.
func (h *Header) Encode(b []byte) error {
	if len(h.Listen) > MaxListen {
		return fmt.Errorf("%d listen addresses, at most %d", len(h.Listen), MaxListen)
	}
	clear(b[:HeaderSize])
	le := binary.LittleEndian
	le.PutUint32(b[atVersion:], version)
	le.PutUint32(b[atRecord:], RecordSize)
	le.PutUint32(b[atShards:], uint32(h.Shards))
	le.PutUint32(b[atPerShard:], uint32(h.PerShard))
	le.PutUint64(b[atPID:], uint64(h.PID))
	le.PutUint64(b[atNonce:], h.Nonce)
	copy(b[atBoot:], h.Boot[:])
	le.PutUint32(b[atListens:], uint32(len(h.Listen)))
	for i, a := range h.Listen {
		e := b[atListen+i*listenSize:]
		copy(e, a.IP[:])
		le.PutUint32(e[16:], a.Zone)
		le.PutUint16(e[20:], a.Port)
	}
	SetHeartbeat(b, h.Heartbeat)
	copy(b[atMagic:], magic[:])
	le.PutUint64(b[atHeaderSum:], headerSum(b))
	return nil
}

// SetHeartbeat writes that the process was alive at a time of CLOCK_BOOTTIME.
func SetHeartbeat(b []byte, now time.Duration) {
	binary.LittleEndian.PutUint64(b[atHeartbeat:], uint64(now))
}

// headerSum is the checksum of the header without itself and the heartbeat.
func headerSum(b []byte) uint64 {
	s := crc64.Update(0, polynomial, b[:atHeaderSum])
	return crc64.Update(s, polynomial, b[atHeartbeat+8:HeaderSize])
}

// Decode reads the header of a file of size bytes.
func Decode(b []byte, size int64) (Header, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < HeaderSize:
		return Header{}, ErrTruncated
	case [8]byte(b[atMagic:]) != magic:
		return Header{}, ErrNoLedger
	case le.Uint32(b[atVersion:]) != version || le.Uint32(b[atRecord:]) != RecordSize:
		return Header{}, ErrVersion
	case le.Uint64(b[atHeaderSum:]) != headerSum(b):
		return Header{}, ErrNoLedger
	}
	listens, shards := le.Uint32(b[atListens:]), le.Uint32(b[atShards:])
	perShard := le.Uint32(b[atPerShard:])
	if listens > MaxListen || shards > maxShards || perShard > math.MaxInt32 {
		return Header{}, ErrNoLedger
	}
	h := Header{
		Boot: [16]byte(b[atBoot:]), PID: int(le.Uint64(b[atPID:])), Nonce: le.Uint64(b[atNonce:]),
		Shards: int(shards), PerShard: int(perShard),
		Heartbeat: time.Duration(le.Uint64(b[atHeartbeat:])),
	}
	for i := range int(listens) {
		e := b[atListen+i*listenSize:]
		h.Listen = append(h.Listen, addr.AddrPort{IP: addr.IP(e), Zone: le.Uint32(e[16:]), Port: le.Uint16(e[20:])})
	}
	if size < h.Size() {
		return Header{}, ErrTruncated
	}
	return h, nil
}

// Usable returns nil, or why the callers in a file must get no SHUTDOWN, given the present
// boot ID and CLOCK_BOOTTIME.
func (h *Header) Usable(boot [16]byte, now time.Duration) error {
	switch age := now - h.Heartbeat; {
	case h.Boot != boot:
		return ErrBoot
	case h.Heartbeat < 0 || age < 0:
		return ErrNoLedger
	case age > MaxAge:
		return ErrOld
	}
	return nil
}

// Region returns a shard's records in the mapped file.
func (h *Header) Region(file []byte, shard int) Region {
	first := uint64(shard) * uint64(h.PerShard)
	from := HeaderSize + first*RecordSize
	to := from + uint64(h.PerShard)*RecordSize
	return Region{b: file[from:to:to], nonce: h.Nonce, first: first}
}

// Scan calls fn for every valid record in the part b of the file, whose offset is a
// multiple of RecordSize. It returns the number of damaged records.
func (h *Header) Scan(offset int64, b []byte, fn func(Record)) (damaged int) {
	if offset < HeaderSize {
		skip := min(HeaderSize-offset, int64(len(b)))
		offset, b = offset+skip, b[skip:]
	}
	for ; len(b) >= RecordSize && offset+RecordSize <= h.Size(); offset, b = offset+RecordSize, b[RecordSize:] {
		rec, empty, valid := decode(h.Nonce, uint64(offset-HeaderSize)/RecordSize, b[:RecordSize])
		switch {
		case empty:
		case !valid || int(rec.Listener) >= len(h.Listen):
			damaged++
		default:
			fn(rec)
		}
	}
	return damaged
}
