// Package ledger is the format of the session ledger: a file in which a relay
// keeps one record per established session, so that the process that follows
// one that was killed can tell the callers (docs/adr/0017-restart-ledger.md).
//
// It works on bytes alone. It must not know how the file is opened, locked or
// mapped (udp), nor who sends what to the callers (shard).
//
//	0           header: magic, version, sizes, who wrote it, listen addresses
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
	// Local is the address the caller dialled, zero on a listener of one
	// address.
	Local addr.IP
	// CallerID is the caller's SRT socket ID.
	CallerID uint32
	// Gen is the generation of the session, never 0.
	Gen uint32
	// Listener is the index of the listen address.
	Listener uint8
}

// Places in a record. A generation of 0 is an empty place.
const (
	atCallerIP   = 0
	atCallerZone = 16
	atCallerPort = 20
	atListener   = 22
	atLocal      = 24
	atCallerID   = 40
	atGen        = 44
	atSum        = 56 // what lies between is 0
)

var polynomial = crc64.MakeTable(crc64.ECMA)

// sum is the checksum of a record at a place of the file. The place and the
// file's nonce are part of it: no record is taken for another's, nor one that
// an earlier process left for this one's.
func sum(nonce, place uint64, b []byte) uint64 {
	return crc64.Update(nonce^place*0x9E3779B97F4A7C15, polynomial, b[:atSum])
}

// Region is the part of the mapped file that belongs to one shard. It is
// written by that shard alone. The zero Region has no places.
type Region struct {
	b     []byte
	nonce uint64
	first uint64 // place of its first record
}

// Len is the number of places.
func (r Region) Len() int { return len(r.b) / RecordSize }

// Put writes the record at a place. Whoever is killed in the middle of it
// leaves a record whose checksum is wrong.
func (r Region) Put(i int, rec *Record) {
	b := r.b[i*RecordSize:][:RecordSize:RecordSize]
	copy(b[atCallerIP:], rec.Caller.IP[:])
	binary.LittleEndian.PutUint32(b[atCallerZone:], rec.Caller.Zone)
	binary.LittleEndian.PutUint16(b[atCallerPort:], rec.Caller.Port)
	b[atListener] = rec.Listener
	copy(b[atLocal:], rec.Local[:])
	binary.LittleEndian.PutUint32(b[atCallerID:], rec.CallerID)
	binary.LittleEndian.PutUint32(b[atGen:], rec.Gen)
	binary.LittleEndian.PutUint64(b[atSum:], sum(r.nonce, r.first+uint64(i), b))
}

// Clear empties a place.
func (r Region) Clear(i int) {
	clear(r.b[i*RecordSize:][:RecordSize])
}

// decode reads the record at a place. empty: there is none; neither empty nor
// valid: it is damaged.
func decode(nonce, place uint64, b []byte) (rec Record, empty, valid bool) {
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
	valid = binary.LittleEndian.Uint64(b[atSum:]) == sum(nonce, place, b) && rec.Caller.Port != 0 && rec.CallerID != 0
	return rec, false, valid
}
