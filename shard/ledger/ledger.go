// Package ledger is the format of the session ledger: a file in which a relay keeps one
// record per established session, so that after the process was killed the next one can
// send a SHUTDOWN to the callers (docs/adr/0017-restart-ledger.md).
//
// It must not know how the file is opened, locked or mapped (udp), nor who sends what to
// the callers (shard): it reads and writes bytes.
//
//	0           header: magic, version, sizes, process, listen addresses
//	HeaderSize  the records of shard 0, then of shard 1, ...
//
// All numbers are little endian.
package ledger

import (
	"encoding/binary"
	"hash/crc64"

	"srtrelay/addr"
)

// RecordSize is the size of one record in bytes: one cache line.
const RecordSize = 64

// Record is what a SHUTDOWN to a caller needs.
type Record struct {
	Caller addr.AddrPort
	// Local is the address that the caller dialled, zero if the listener has only one.
	Local addr.IP
	// CallerID is the caller's SRT socket ID.
	CallerID uint32
	// Gen is the generation of the session, never 0.
	Gen uint32
	// Listener is the index of the listen address.
	Listener uint8
}

// Offsets in a record. A record with generation 0 is empty.
const (
	atCallerIP   = 0
	atCallerZone = 16
	atCallerPort = 20
	atListener   = 22
	atLocal      = 24
	atCallerID   = 40
	atGen        = 44
	atSum        = 56 // the bytes between are 0
)

var polynomial = crc64.MakeTable(crc64.ECMA)

// checksum returns the checksum of the record with an index. The index and the file's nonce
// are part of it, so that a record of another place, or of an earlier process, is not
// valid.
func checksum(nonce, index uint64, b []byte) uint64 {
	return crc64.Update(nonce^index*0x9E3779B97F4A7C15, polynomial, b[:atSum])
}

// Region is the records of one shard in the mapped file. Only that shard writes them. The
// zero Region has none.
type Region struct {
	b     []byte
	nonce uint64
	first uint64 // index of its first record in the file
}

// Len returns the number of records, empty ones included.
func (r Region) Len() int { return len(r.b) / RecordSize }

// Put writes record i. A process that is killed meanwhile leaves a record with a wrong
// checksum.
func (r Region) Put(i int, rec *Record) {
	b := r.b[i*RecordSize:][:RecordSize:RecordSize]
	copy(b[atCallerIP:], rec.Caller.IP[:])
	binary.LittleEndian.PutUint32(b[atCallerZone:], rec.Caller.Zone)
	binary.LittleEndian.PutUint16(b[atCallerPort:], rec.Caller.Port)
	b[atListener] = rec.Listener
	copy(b[atLocal:], rec.Local[:])
	binary.LittleEndian.PutUint32(b[atCallerID:], rec.CallerID)
	binary.LittleEndian.PutUint32(b[atGen:], rec.Gen)
	binary.LittleEndian.PutUint64(b[atSum:], checksum(r.nonce, r.first+uint64(i), b))
}

// Clear empties record i.
func (r Region) Clear(i int) {
	clear(r.b[i*RecordSize:][:RecordSize])
}

// decode decodes the record with an index. One that is neither empty nor valid is damaged.
func decode(nonce, index uint64, b []byte) (rec Record, empty, valid bool) {
	gen := binary.LittleEndian.Uint32(b[atGen:])
	if gen == 0 {
		return Record{}, true, false
	}
	rec = Record{
		Caller: addr.AddrPort{
			IP:   addr.IP(b[atCallerIP:]),
			Zone: binary.LittleEndian.Uint32(b[atCallerZone:]),
			Port: binary.LittleEndian.Uint16(b[atCallerPort:]),
		},
		Listener: b[atListener],
		Local:    addr.IP(b[atLocal:]),
		CallerID: binary.LittleEndian.Uint32(b[atCallerID:]),
		Gen:      gen,
	}
	valid = binary.LittleEndian.Uint64(b[atSum:]) == checksum(nonce, index, b) && rec.Caller.Port != 0 && rec.CallerID != 0
	return rec, false, valid
}
