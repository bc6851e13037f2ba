// Package checkpoint is the format of the file in which a relay keeps what the next process
// needs to go on with its sessions after a crash: a slot per established session, in the
// place of the session, and the state of what all shards share (docs/adr/0026-crash.md).
//
// It must not know what a record or the state says, how the file is kept, nor who goes on: it
// reads and writes bytes. A process may be killed at any of its stores, so everything has a
// checksum.
//
//	0           header: magic, version, sizes, process
//	HeaderSize  the slots of shard 0, then of shard 1, ...
//	Size        the state, twice: see StateWriter
//
// All numbers are little endian.
package checkpoint

import (
	"encoding/binary"
	"hash/crc64"
)

// SlotSize is the size of a slot in bytes, MostRecord that of the longest record.
const (
	SlotSize   = 1024
	MostRecord = SlotSize - atRecord
)

// Offsets in a slot. One with length 0 is empty.
const (
	atLength  = 0
	atSlotSum = 8
	atRecord  = 16
)

// sum is the checksum of the record of a slot. Place and file are part of it, so that a record
// of another place, or of an earlier process, is not whole.
func sum(nonce, index uint64, record []byte) uint64 {
	return crc64.Update(nonce^index*0x9E3779B97F4A7C15^uint64(len(record)), polynomial, record)
}

// Region is the slots of one shard in the mapped file. Only that shard writes them. The zero
// Region has none.
type Region struct {
	b     []byte
	nonce uint64
	first uint64 // index of its first slot in the file
}

// Len returns the number of slots.
func (r Region) Len() int { return len(r.b) / SlotSize }

// Put writes the record of slot i; one that is too long leaves the slot empty, and Put returns
// false. A process that is killed meanwhile leaves a slot with a wrong checksum.
func (r Region) Put(i int, record []byte) bool {
	b := r.b[i*SlotSize:][:SlotSize:SlotSize]
	if len(record) == 0 || len(record) > MostRecord {
		r.Clear(i)
		return false
	}
	binary.LittleEndian.PutUint32(b[atLength:], uint32(len(record)))
	copy(b[atRecord:], record)
	binary.LittleEndian.PutUint64(b[atSlotSum:], sum(r.nonce, r.first+uint64(i), record))
	return true
}

// Clear empties slot i.
func (r Region) Clear(i int) {
	binary.LittleEndian.PutUint32(r.b[i*SlotSize+atLength:], 0)
}

// read returns the record of a slot. One that is neither empty nor whole is damaged.
func read(nonce, index uint64, b []byte) (record []byte, empty, whole bool) {
	n := binary.LittleEndian.Uint32(b[atLength:])
	switch {
	case n == 0:
		return nil, true, false
	case n > MostRecord:
		return nil, false, false
	}
	record = b[atRecord : atRecord+n]
	return record, false, binary.LittleEndian.Uint64(b[atSlotSum:]) == sum(nonce, index, record)
}
