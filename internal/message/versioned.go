package message

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// fieldVersion is the first field of a message that stands alone.
const fieldVersion Number = 1

// AppendVersion begins a message that stands alone. Its own fields have numbers from 2.
func AppendVersion(b []byte, version uint64) []byte { return AppendUint(b, fieldVersion, version) }

// ReadVersion returns a reader behind the version of a message, which must be one of
// oldest to newest.
func ReadVersion(b []byte, oldest, newest uint64) (Reader, error) {
	r := Read(b)
	if !r.Next() || r.number != fieldVersion {
		return Reader{}, fmt.Errorf("%w: no version", ErrDamaged)
	}
	if v := Uint[uint64](&r); v < oldest || v > newest {
		return Reader{}, fmt.Errorf("version %d, this relay reads %d to %d", v, oldest, newest)
	}
	return r, nil
}

// AppendInstant appends a time, and leaves the zero Time out. boot is when
// CLOCK_MONOTONIC was 0, by the clock of this process.
func AppendInstant(b []byte, n Number, t, boot time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return AppendTime(b, n, Clock{}, t.Sub(boot))
}

// Instant returns a time that AppendInstant has appended. boot is when CLOCK_MONOTONIC
// was 0, by the clock of this process.
func (r *Reader) Instant(boot time.Time) time.Time { return boot.Add(r.Time(Clock{})) }

// AppendEntry appends one of a list of strings, which may be empty.
func AppendEntry(b []byte, n Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}
