package message

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

type color uint8

// every has a field of every kind.
type every struct {
	u     uint64
	c     color
	b     bool
	f32   uint32
	f64   uint64
	s     string
	raw   []byte
	d     time.Duration
	at    time.Duration
	inner *every
}

func (v *every) append(b []byte, c Clock) []byte {
	b = AppendUint(b, 1, v.u)
	b = AppendUint(b, 2, v.c)
	b = AppendBool(b, 3, v.b)
	b = AppendFixed32(b, 4, v.f32)
	b = AppendFixed64(b, 5, v.f64)
	b = AppendBytes(b, 6, v.s)
	b = AppendBytes(b, 7, v.raw)
	b = AppendDuration(b, 8, v.d)
	b = AppendTime(b, 9, c, v.at)
	if v.inner != nil {
		var mark int
		b, mark = Open(b, 10)
		b = Close(v.inner.append(b, c), mark)
	}
	return b
}

func (v *every) read(b []byte, c Clock) error {
	r := Read(b)
	for r.Next() {
		switch r.Number() {
		case 1:
			v.u = Uint[uint64](&r)
		case 2:
			v.c = Uint[color](&r)
		case 3:
			v.b = r.Bool()
		case 4:
			v.f32 = Uint[uint32](&r)
		case 5:
			v.f64 = Uint[uint64](&r)
		case 6:
			v.s = r.String()
		case 7:
			v.raw = slices.Clone(r.Bytes())
		case 8:
			v.d = r.Duration()
		case 9:
			v.at = r.Time(c)
		case 10:
			v.inner = new(every)
			r.Fail(v.inner.read(r.Bytes(), c))
		}
	}
	return r.Err()
}

func (v *every) equal(w *every) bool {
	if v == nil || w == nil {
		return v == w
	}
	return v.u == w.u && v.c == w.c && v.b == w.b && v.f32 == w.f32 && v.f64 == w.f64 && v.s == w.s &&
		slices.Equal(v.raw, w.raw) && v.d == w.d && v.at == w.at && v.inner.equal(w.inner)
}

func TestMessage(t *testing.T) {
	const ahead = time.Hour
	for name, v := range map[string]*every{
		"zero":  {},
		"small": {u: 1, c: 2, b: true, f32: 3, f64: 4, s: "x", raw: []byte{0}, d: -1, at: time.Second, inner: &every{}},
		"large": {
			u: math.MaxUint64, c: 255, b: true, f32: math.MaxUint32, f64: math.MaxUint64, s: strings.Repeat("y", 1000),
			raw: make([]byte, 20000), d: math.MinInt64, at: -time.Hour, inner: &every{inner: &every{u: 7}},
		},
	} {
		b := v.append(nil, Clock{Origin: 10 * time.Hour})
		var got every
		if err := got.read(b, Clock{Origin: 10*time.Hour - ahead}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if v.at != 0 {
			got.at -= ahead
		}
		if !got.equal(v) {
			t.Errorf("%s: read back as %+v", name, got)
		}
	}
	if b := new(every).append(nil, Clock{Origin: time.Hour}); len(b) != 0 {
		t.Errorf("a zero message has %d bytes", len(b))
	}
}

// never, as 0, is the same by every clock.
func TestTimesThatStay(t *testing.T) {
	for _, at := range []time.Duration{0, never} {
		r := Read(AppendTime(nil, 1, Clock{Origin: time.Hour}, at))
		r.Next()
		if got := r.Time(Clock{Origin: time.Minute}); got != at {
			t.Errorf("%v has become %v", at, got)
		}
	}
}

func TestWrongFieldsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		message []byte
		read    func(*Reader)
	}{
		"a tag without a value":  {[]byte{1 << 3}, nil},
		"a cut varint":           {[]byte{1 << 3, 0x80}, nil},
		"a cut fixed32":          {[]byte{1<<3 | 5, 1, 2, 3}, nil},
		"bytes beyond the end":   {[]byte{1<<3 | 2, 200, 1}, nil},
		"a length of 2^63":       {append([]byte{1<<3 | 2}, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1), nil},
		"a group":                {[]byte{1<<3 | 3, 1<<3 | 4}, nil},
		"field 0":                {[]byte{0, 0}, nil},
		"too large for its type": {AppendUint(nil, 1, uint32(256)), func(r *Reader) { Uint[uint8](r) }},
		"a string for a number":  {AppendBytes(nil, 1, "x"), func(r *Reader) { Uint[uint8](r) }},
		"a number for bytes":     {AppendUint(nil, 1, uint32(1)), func(r *Reader) { r.Bytes() }},
		"2 for a truth value":    {AppendUint(nil, 1, uint32(2)), func(r *Reader) { r.Bool() }},
		"a time in 290 years":    {AppendFixed64(nil, 1, math.MaxInt64-1), func(r *Reader) { r.Time(Clock{}) }},
		"no number":              {AppendFixed64(nil, 1, math.Float64bits(math.NaN())), func(r *Reader) { r.Float() }},
	} {
		r := Read(c.message)
		for r.Next() {
			if c.read != nil {
				c.read(&r)
			}
		}
		if !errors.Is(r.Err(), ErrDamaged) {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
}

// A reader skips the fields that it does not know, whatever their type.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	b := AppendUint(nil, 100, uint32(1))
	b = AppendFixed32(b, 101, 2)
	b = AppendUint(b, 1, uint32(77))
	b = AppendFixed64(b, 102, 3)
	b = AppendBytes(b, 103, "later")
	var v every
	if err := v.read(b, Clock{}); err != nil || v.u != 77 {
		t.Errorf("read %+v, %v", v, err)
	}
}

// protobuf itself takes a length of 4 bytes.
func TestLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 1 << 14, 1 << 21} {
		b, mark := Open([]byte("before"), 1)
		b = Close(append(b, make([]byte, n)...), mark)
		got, size := protowire.ConsumeBytes(b[len("before")+1:])
		if len(got) != n || size != lengthSize+n {
			t.Errorf("%d bytes: %d, %d in all", n, len(got), size)
		}
	}
}

func TestSeal(t *testing.T) {
	b := append([]byte("before"), "content"...)
	b = Seal(b, len("before"), 12)[len("before"):]
	if messages, records, err := Unseal(b); err != nil || records != 12 || string(messages) != "content" {
		t.Fatalf("%q, %d, %v", messages, records, err)
	}
	for n := range b {
		if _, _, err := Unseal(b[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("truncated to %d bytes: %v", n, err)
		}
		for bit := range 8 {
			flipped := slices.Clone(b)
			flipped[n] ^= 1 << bit
			if _, _, err := Unseal(flipped); !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d is flipped: %v", bit, n, err)
			}
		}
	}
	if _, _, err := Unseal(append(b, 0)); !errors.Is(err, ErrDamaged) {
		t.Error("a byte more is not found")
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	b := (&every{u: 1, c: 2, b: true, f32: 3, f64: 4, d: 5, at: 6}).append(nil, Clock{Origin: 1})
	space := make([]byte, 0, 1000)
	v := &every{u: 1, s: "text", at: 3, inner: &every{u: 2}}
	if n := testing.AllocsPerRun(100, func() { space = v.append(space[:0], Clock{}) }); n != 0 {
		t.Errorf("%v allocations to append", n)
	}
	var got every
	if n := testing.AllocsPerRun(100, func() { _ = got.read(b, Clock{}) }); n != 0 {
		t.Errorf("%v allocations to read", n)
	}
}
