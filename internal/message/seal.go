package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
)

// A seal is the last field of a file of messages: how many records there are, and a
// checksum of all bytes before it. Its form is the same in every version of a file.
const (
	sealNumber   Number = 1000
	sealRecords  Number = 1
	sealChecksum Number = 2

	sealContent = 2 * (1 + 4)
	sealSize    = 2 + 1 + sealContent // with its tag and its length
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTruncated says that a file has no end.
var errTruncated = errors.New("it has no end, as if truncated")

// Seal ends a file of messages that begins at an offset of b.
func Seal(b []byte, from int, records uint32) []byte {
	b = protowire.AppendTag(b, sealNumber, protowire.BytesType)
	b = protowire.AppendVarint(b, sealContent)
	b = protowire.AppendFixed32(protowire.AppendTag(b, sealRecords, protowire.Fixed32Type), records)
	b = protowire.AppendTag(b, sealChecksum, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, crc32.Checksum(b[from:], castagnoli))
}

// Unseal returns a file's messages without the seal, and the number of records, which
// the caller compares with what it finds. The error says that the file is damaged.
func Unseal(b []byte) (messages []byte, records uint32, err error) {
	if len(b) < sealSize {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, errTruncated)
	}
	messages, seal := b[:len(b)-sealSize], b[len(b)-sealSize:]
	records = binary.LittleEndian.Uint32(seal[sealSize-9:])
	// Every byte of a whole seal is known but for the two numbers.
	whole := Seal(nil, 0, records)
	if n := sealSize - 4; string(whole[:n]) != string(seal[:n]) {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, errTruncated)
	}
	if sum := crc32.Checksum(b[:len(b)-4], castagnoli); sum != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, 0, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return messages, records, nil
}
