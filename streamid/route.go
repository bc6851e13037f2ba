package streamid

import (
	"errors"

	"srtrelay/handshake"
	"srtrelay/streamid/rules"
)

// The reasons for which the rules refuse a caller.
var (
	// errForbidden: its network may not publish, or play.
	errForbidden = errors.New("the caller's network is not allowed")
	// errTooLong: SRS would fail on it.
	errTooLong = errors.New("stream ID longer than 511 bytes with what the rules add")
)

// Routed is a caller's stream ID after the rules.
type Routed struct {
	// StreamID is what the backend gets.
	StreamID string
	// Changed means that it is not what the caller sent.
	Changed bool
	// From is where it comes from.
	From rules.Origin
	// Dialect is its dialect, never rules.DialectAuto.
	Dialect rules.Dialect
	// Stream is how servers of that dialect read it, Key its affinity key,
	// and ProxyKey that of SRS's proxy if it differs; see backend.Query.
	Stream   StreamID
	Key      string
	ProxyKey string
}

// Route applies a set of rules to a caller; a nil set has none. The error says why
// the caller is refused, and Refusal returns the code for it.
func Route(set *rules.Set, in rules.Request) (Routed, error) {
	v := set.Apply(in)
	r := Routed{StreamID: v.StreamID, Changed: v.Changed, From: v.From}
	read, err := parse(v.StreamID, set.Dialect(in))
	r.Dialect = read.Dialect
	if err != nil {
		return r, err
	}
	r.Stream, r.Key = read.StreamID, read.KeyAmong(set.KnowsVhost)
	r.ProxyKey = read.proxyKey(r.Key)
	// SRS treats an HSv4 caller as a publisher.
	if !set.Admits(r.Stream.Publish, in.Caller.Addr()) || in.HSv4 && !set.Admits(true, in.Caller.Addr()) {
		return r, errForbidden
	}
	if in.HSv4 {
		r.Changed = false
		return r, nil
	}
	if j := set.Injection(); j.Key != "" {
		injected, err := inject(read, v.StreamID, j.Key, j.Value(in.Caller))
		if err != nil {
			return r, err
		}
		r.StreamID, r.Changed = injected, injected != in.StreamID
		if read, err = parse(injected, read.Dialect); err != nil {
			return r, err
		}
		r.Stream = read.StreamID
	}
	if r.Changed && len(r.StreamID) > rules.MaxStreamID {
		return r, errTooLong
	}
	return r, nil
}

// Check returns why servers of a dialect would refuse a stream ID, nil if they
// would not.
func Check(s string, d rules.Dialect) error {
	_, err := parse(s, d)
	return err
}

// Refusal is the rejection code for an error of Route.
func Refusal(err error) handshake.Code {
	switch {
	case err == nil:
		return handshake.CodeNone
	case errors.Is(err, errForbidden):
		return handshake.CodeForbidden
	}
	return handshake.CodeBadRequest
}
