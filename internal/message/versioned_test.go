package message

import (
	"errors"
	"testing"
	"time"
)

func TestVersions(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":    {nil, "damaged message: no version"},
		"other":    {AppendUint(nil, 2, uint8(1)), "damaged message: no version"},
		"zero":     {AppendVersion(nil, 0), "damaged message: no version"},
		"text":     {AppendBytes(nil, fieldVersion, "2"), "version 0, this relay reads 2 to 3"},
		"too old":  {AppendVersion(nil, 1), "version 1, this relay reads 2 to 3"},
		"previous": {AppendVersion(nil, 2), ""},
		"present":  {AppendVersion(nil, 3), ""},
		"too new":  {AppendVersion(nil, 4), "version 4, this relay reads 2 to 3"},
	} {
		_, err := ReadVersion(c.b, 2, 3)
		if got := ""; err != nil {
			got = err.Error()
			if got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		} else if c.want != "" {
			t.Errorf("%s: no error, want %q", name, c.want)
		}
	}
}

// An instant is the same one for a process whose clock shows another time of day.
func TestInstants(t *testing.T) {
	boot := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	later := boot.Add(time.Hour)
	b := AppendInstant(nil, 2, boot.Add(5*time.Second), boot)
	b = AppendInstant(b, 3, time.Time{}, boot)
	r := Read(b)
	if !r.Next() || !r.Instant(later).Equal(later.Add(5*time.Second)) || r.Err() != nil {
		t.Errorf("%v", r.Err())
	}
	if r.Next() {
		t.Error("the zero Time was appended")
	}
	r = Read(AppendFixed64(nil, 2, 1<<63))
	if r.Next(); !r.Instant(boot).Equal(boot) || !errors.Is(r.Err(), ErrDamaged) && r.Err() == nil {
		t.Errorf("a time of centuries ago: %v", r.Err())
	}
}
