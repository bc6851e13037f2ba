package message

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrDamaged says that bytes are no message, or that a field has an impossible value.
var ErrDamaged = errors.New("damaged message")

// Reader reads a message field by field:
//
//	r := message.Read(b)
//	for r.Next() {
//		switch r.Number() {
//		case fieldName:
//			v.name = r.String()
//		}
//	}
//	return r.Err()
//
// It allocates nothing but strings, and refuses every value that does not fit. After
// an error Next returns false.
type Reader struct {
	rest   []byte
	err    error
	number Number
	kind   protowire.Type
	value  uint64 // of a numeric field
	bytes  []byte // of any other
}

// Read returns a reader at the beginning of a message.
func Read(b []byte) Reader { return Reader{rest: b} }

// Next goes to the next field; false at the end of the message, or after an error.
func (r *Reader) Next() bool {
	if r.err != nil || len(r.rest) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(r.rest)
	if n < 0 {
		return r.fail(protowire.ParseError(n))
	}
	r.rest = r.rest[n:]
	r.number, r.kind, r.value, r.bytes = number, kind, 0, nil
	switch kind {
	case protowire.VarintType:
		r.value, n = protowire.ConsumeVarint(r.rest)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(r.rest)
		r.value = uint64(v)
	case protowire.Fixed64Type:
		r.value, n = protowire.ConsumeFixed64(r.rest)
	case protowire.BytesType:
		r.bytes, n = protowire.ConsumeBytes(r.rest)
	default:
		return r.fail(fmt.Errorf("field %d: wire type %d", number, kind))
	}
	if n < 0 {
		return r.fail(protowire.ParseError(n))
	}
	r.rest = r.rest[n:]
	return true
}

// Number returns the number of the field.
func (r *Reader) Number() Number { return r.number }

// Err returns why the message could not be read; nil if it could.
func (r *Reader) Err() error { return r.err }

// Refuse notes that the field has a value that cannot be. The first error is kept.
func (r *Reader) Refuse(why string) { r.fail(fmt.Errorf("field %d: %s", r.number, why)) }

// Fail notes an error in the field's content.
func (r *Reader) Fail(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("field %d: %w", r.number, err)
	}
}

func (r *Reader) fail(err error) bool {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return false
}

// Uint returns a numeric field, and refuses one that does not fit the type.
func Uint[T Unsigned](r *Reader) T {
	v := T(r.number64())
	if uint64(v) != r.value {
		r.Refuse("too large a number")
		return 0
	}
	return v
}

func (r *Reader) number64() uint64 {
	if r.kind == protowire.BytesType {
		r.Refuse("no number")
	}
	return r.value
}

// Bool returns a truth value.
func (r *Reader) Bool() bool {
	if r.number64() > 1 {
		r.Refuse("neither true nor false")
	}
	return r.value == 1
}

// Duration returns a length of time.
func (r *Reader) Duration() time.Duration {
	return time.Duration(protowire.DecodeZigZag(r.number64()))
}

// Time returns a time of a clock. A time further than a century from the clock's origin
// is refused, so that sums of times do not overflow.
func (r *Reader) Time(c Clock) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	t := c.relative(r.number64())
	if t != never && (t > century || t < -century) {
		r.Refuse("an impossible time")
		return 0
	}
	return t
}

// Bytes returns the bytes of a field, or the message in it. They are part of the message
// that is read.
func (r *Reader) Bytes() []byte {
	if r.kind != protowire.BytesType {
		r.Refuse("no bytes")
	}
	return r.bytes
}

// String returns a copy of a field's bytes.
func (r *Reader) String() string { return string(r.Bytes()) }

// Float returns a number that AppendFixed64 has appended the bits of. One that is
// infinite or no number is refused.
func (r *Reader) Float() float64 {
	v := math.Float64frombits(r.number64())
	if math.IsInf(v, 0) || math.IsNaN(v) {
		r.Refuse("no finite number")
		return 0
	}
	return v
}
