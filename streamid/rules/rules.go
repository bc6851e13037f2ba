// Package rules is what an operator lays down about stream IDs: which one
// stands for a caller that sends none, how they are read, which vhosts SRS knows, from which
// networks callers may publish or play, and whether SRS is told the caller's
// address.
//
// A Set is one file's rules, immutable; Live publishes the one in force, and
// File keeps Live in step with a file. Nobody who asks a Set ever waits.
//
// It must not know how a stream ID is read (handshake) or how it travels
// (shard): to this room it is text.
package rules

import "net/netip"

// Set is the rules of one file. It is immutable; nil is a set without rules.
type Set struct {
	dialect  Dialect
	fallback *entry
	ports    map[uint16]entry
	sources  networks[entry]
	vhosts   map[string]bool // nil: every vhost is known
	publish  access
	play     access
	inject   Injection
}

// entry is a stream ID that stands for what a caller sends or leaves out, a
// dialect, or both.
type entry struct {
	streamID string // empty for none
	override bool   // also for a caller that sends one
	dialect  Dialect
}

// Request is what the rules look at.
type Request struct {
	// ListenPort is the port that the caller dialled.
	ListenPort uint16
	// Caller is the caller's address.
	Caller netip.AddrPort
	// StreamID is the stream ID as sent, empty for none.
	StreamID string
	// HSv4 says that the caller's handshake has no place for a stream ID.
	HSv4 bool
}

// Origin says where an effective stream ID comes from.
type Origin string

// Origins, in their precedence. Without any the stream ID is empty.
const (
	Sent        Origin = "sent"
	FromSource  Origin = "source"
	FromPort    Origin = "port"
	FromDefault Origin = "default"
	FromNobody  Origin = "none"
)

// Verdict is the stream ID that counts.
type Verdict struct {
	StreamID string
	From     Origin
	// Changed says that it is not what the caller sent.
	Changed bool
}

// Apply chooses the stream ID: what the caller sent, else that of the source
// network, the listener port, the default, in this order. An entry with
// override comes before what the caller sent. Of several networks only the
// narrowest counts, so that a narrow entry without override exempts from a
// wide one with it.
func (s *Set) Apply(in Request) Verdict {
	source, port, fallback := s.candidates(in)
	chosen := Verdict{StreamID: in.StreamID, From: FromNobody}
	switch {
	case source != nil && source.override:
		chosen = Verdict{StreamID: source.streamID, From: FromSource}
	case port != nil && port.override:
		chosen = Verdict{StreamID: port.streamID, From: FromPort}
	case fallback != nil && fallback.override:
		chosen = Verdict{StreamID: fallback.streamID, From: FromDefault}
	case in.StreamID != "":
		chosen.From = Sent
	case source != nil && source.streamID != "":
		chosen = Verdict{StreamID: source.streamID, From: FromSource}
	case port != nil && port.streamID != "":
		chosen = Verdict{StreamID: port.streamID, From: FromPort}
	case fallback != nil:
		chosen = Verdict{StreamID: fallback.streamID, From: FromDefault}
	}
	chosen.Changed = chosen.StreamID != in.StreamID
	return chosen
}

// candidates are the entries that fit the caller, nil where none does.
func (s *Set) candidates(in Request) (source, port, fallback *entry) {
	if s == nil {
		return nil, nil, nil
	}
	if e, ok := s.sources.find(in.Caller.Addr()); ok {
		source = &e
	}
	if e, ok := s.ports[in.ListenPort]; ok {
		port = &e
	}
	return source, port, s.fallback
}

// Admits reports whether a caller at ip may publish, or play.
func (s *Set) Admits(publish bool, ip netip.Addr) bool {
	switch {
	case s == nil:
		return true
	case publish:
		return s.publish.admits(ip)
	}
	return s.play.admits(ip)
}

// KnowsVhost reports whether SRS knows the vhost; without a list it knows all.
func (s *Set) KnowsVhost(vhost string) bool {
	return s == nil || s.vhosts == nil || s.vhosts[vhost]
}

// Injection says how SRS is told the caller's address; the zero value is not
// at all.
type Injection struct {
	// Key names the parameter, empty for none.
	Key string
	// Port adds the caller's UDP port to its address.
	Port bool
}

// Injection returns how the caller's address is to be told.
func (s *Set) Injection() Injection {
	if s == nil {
		return Injection{}
	}
	return s.inject
}

// Value is the text for a caller: 192.0.2.1 or 2001:db8::1, with the port
// 192.0.2.1:5000 or [2001:db8::1]:5000. A zone would be an interface index of
// the relay's host, which means nothing elsewhere.
func (j Injection) Value(caller netip.AddrPort) string {
	ip := plain(caller.Addr())
	if j.Port {
		return netip.AddrPortFrom(ip, caller.Port()).String()
	}
	return ip.String()
}
