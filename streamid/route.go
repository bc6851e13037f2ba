package streamid

import (
	"errors"

	"srtrelay/handshake"
	"srtrelay/streamid/rules"
)

// Why a caller is refused by the rules.
var (
	// ErrForbidden: its network may not publish, or play.
	ErrForbidden = errors.New("the caller's network is not allowed")
	// ErrLong: SRS would fail on it.
	ErrLong = errors.New("stream ID longer than 511 bytes with what the rules add")
)

// Routed is what counts of a caller's stream ID once the rules have been
// applied.
type Routed struct {
	// StreamID is what the backend is to be told.
	StreamID string
	// Changed says that it is not what the caller sent.
	Changed bool
	// From says where it comes from.
	From rules.Origin
	// Dialect is the one that it was read by, never rules.Auto.
	Dialect rules.Dialect
	// Stream is how servers of that dialect read it, Key its affinity key,
	// and Spelled that of SRS's proxy where it is another; see backend.Query.
	Stream  StreamID
	Key     string
	Spelled string
}

// Route applies a set of rules to a caller; a nil set has none. The error says
// why the caller is refused, Refusal with which code. It changes nothing.
func Route(set *rules.Set, in rules.Request) (Routed, error) {
	v := set.Apply(in)
	r := Routed{StreamID: v.StreamID, Changed: v.Changed, From: v.From}
	read, err := Read(v.StreamID, set.Dialect(in))
	r.Dialect = read.Dialect
	if err != nil {
		return r, err
	}
	r.Stream, r.Key = read.StreamID, read.KeyAmong(set.KnowsVhost)
	r.Spelled = read.spelled(r.Key)
	// What SRS takes for an HSv4 caller publishes.
	if !set.Admits(r.Stream.Publish, in.Caller.Addr()) || in.HSv4 && !set.Admits(true, in.Caller.Addr()) {
		return r, ErrForbidden
	}
	if in.HSv4 {
		r.Changed = false
		return r, nil
	}
	if j := set.Injection(); j.Key != "" {
		told, err := InjectInto(read, v.StreamID, j.Key, j.Value(in.Caller))
		if err != nil {
			return r, err
		}
		r.StreamID, r.Changed = told, told != in.StreamID
		if read, err = Read(told, read.Dialect); err != nil {
			return r, err
		}
		r.Stream = read.StreamID
	}
	if r.Changed && len(r.StreamID) > rules.MaxStreamID {
		return r, ErrLong
	}
	return r, nil
}

// Check says why servers of a dialect would refuse a stream ID, nil if
// they would not.
func Check(s string, d rules.Dialect) error {
	_, err := Read(s, d)
	return err
}

// Refusal is the code for an error of Route or RewriteStreamID.
func Refusal(err error) handshake.Code {
	switch {
	case err == nil:
		return handshake.CodeNone
	case errors.Is(err, ErrForbidden):
		return handshake.CodeForbidden
	}
	return handshake.CodeBadRequest
}
