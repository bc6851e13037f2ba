package rules

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestDialect(t *testing.T) {
	const text = `
default: x
ports:
  - {port: 20081, dialect: mediamtx}
  - {port: 20082, stream-id: y}
sources:
  - {network: 10.0.0.0/8, dialect: plain}
  - {network: 10.1.0.0/16, stream-id: z}
`
	for _, c := range []struct {
		text, caller string
		port         uint16
		want         Dialect
		streamID     string
	}{
		{"", "192.0.2.1:1", 20081, DialectAuto, ""},
		{"dialect: srs", "192.0.2.1:1", 20081, DialectSRS, ""},
		{text, "192.0.2.1:1", 20080, DialectAuto, "x"},
		{text, "192.0.2.1:1", 20081, DialectMediaMTX, "x"},
		{text, "192.0.2.1:1", 20082, DialectAuto, "y"},
		{text + "dialect: srs", "192.0.2.1:1", 20082, DialectSRS, "y"},
		{text + "dialect: srs", "192.0.2.1:1", 20081, DialectMediaMTX, "x"},
		{text, "10.0.0.1:1", 20081, DialectPlain, "x"},
		// Of several networks only the narrowest counts.
		{text, "10.1.0.1:1", 20081, DialectMediaMTX, "z"},
	} {
		in := Request{ListenPort: c.port, Caller: netip.MustParseAddrPort(c.caller)}
		s := parse(t, c.text)
		if got, v := s.Dialect(in), s.Apply(in); got != c.want || v.StreamID != c.streamID {
			t.Errorf("%q, %s at %d: %s, stream ID %q; want %s, %q", c.text, c.caller, c.port, got, v.StreamID, c.want, c.streamID)
		}
	}
	if d := (*Set)(nil).Dialect(Request{}); d != DialectAuto {
		t.Errorf("without rules %q", d)
	}
}

// A rule's stream ID is checked by its own dialect, wherever that stands.
func TestStreamIDsAreCheckedByTheirDialect(t *testing.T) {
	const text = `
default: a
ports: [{port: 1, stream-id: b, dialect: plain}]
sources: [{network: 10.0.0.0/8, stream-id: c}]
dialect: mediamtx
`
	var seen []string
	check := func(streamID string, d Dialect) error {
		seen = append(seen, streamID+" "+string(d))
		return nil
	}
	if _, err := Parse("r.yaml", []byte(text), check); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a mediamtx", "b plain", "c mediamtx"}; !slices.Equal(seen, want) {
		t.Errorf("checked %q, want %q", seen, want)
	}
	refuse := func(string, Dialect) error { return errors.New("no") }
	if _, err := Parse("r.yaml", []byte("ports: [{stream-id: b, port: 1}]"), refuse); err == nil ||
		err.Error() != `rules: r.yaml:1: key "ports[0].stream-id": "b": no` {
		t.Error(err)
	}
}
