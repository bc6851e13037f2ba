// Package message appends and reads messages in protobuf's wire format, for what a
// process hands to another one: a field has a number, a reader skips the numbers that it
// does not know, and a field that is missing is zero. So a newer process reads what an
// older one has written, and the other way round.
//
// It knows numbers, strings and times, and seals a whole file with a checksum. It must not
// know what a message is about: each package numbers the fields of its own types.
package message

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Number is the number of a field. It is never given to another field.
type Number = protowire.Number

// Unsigned are the types that a numeric field may have.
type Unsigned interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

// AppendUint appends a number of variable length. As all functions here, except Open,
// it leaves a zero value out.
func AppendUint[T Unsigned](b []byte, n Number, v T) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

// AppendBool appends a truth value.
func AppendBool(b []byte, n Number, v bool) []byte {
	if !v {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), 1)
}

// AppendFixed32 appends a number in 4 bytes: shorter than AppendUint for random numbers.
func AppendFixed32(b []byte, n Number, v uint32) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), v)
}

// AppendFixed64 appends a number in 8 bytes.
func AppendFixed64(b []byte, n Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), v)
}

// AppendBytes appends a string or bytes.
func AppendBytes[T ~string | ~[]byte](b []byte, n Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// AppendDuration appends a length of time, which may be negative.
func AppendDuration(b []byte, n Number, d time.Duration) []byte {
	return AppendUint(b, n, protowire.EncodeZigZag(int64(d)))
}

// AppendTime appends a time of a clock.
func AppendTime(b []byte, n Number, c Clock, t time.Duration) []byte {
	return AppendFixed64(b, n, c.absolute(t))
}

// Clock counts from an origin of its own, which is a time of CLOCK_MONOTONIC. Messages
// have times of CLOCK_MONOTONIC, which all processes of a host share.
type Clock struct{ Origin time.Duration }

// never is the latest time of a clock. As 0, which stands for no time, it is not moved.
const never = time.Duration(math.MaxInt64)

func (c Clock) absolute(t time.Duration) uint64 {
	if t == 0 || t == never {
		return uint64(t)
	}
	return uint64(t + c.Origin)
}

func (c Clock) relative(v uint64) time.Duration {
	if t := time.Duration(v); t == 0 || t == never {
		return t
	}
	return time.Duration(v) - c.Origin
}

// lengthSize is how many bytes the length of a message within another one has. It is
// written before the message is complete, so that all lengths have the same size.
const lengthSize = 4

// maxLength is the longest message within another one.
const maxLength = 1<<(7*lengthSize) - 1

// Open begins a message within another one. Its fields are appended to what Open returns;
// then Close ends it at the mark.
func Open(b []byte, n Number) (out []byte, mark int) {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return append(b, 0, 0, 0, 0), len(b) + lengthSize
}

// Close ends the message that Open has begun. It panics if the message is longer than
// 256 MiB.
func Close(b []byte, mark int) []byte {
	n := len(b) - mark
	if n > maxLength {
		panic("message: longer than its length can say")
	}
	// A varint whose last bytes may be zero.
	at := b[mark-lengthSize : mark]
	for k := range at {
		at[k] = byte(n)&0x7F | 0x80
		n >>= 7
	}
	at[lengthSize-1] &^= 0x80
	return b
}
