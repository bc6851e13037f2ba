// Package rules holds the operator's rules about stream IDs: which one a caller
// gets that sends none, in which dialect it is read, which vhosts SRS knows, from
// which networks callers may publish or play, and whether SRS gets the caller's
// address.
//
// A Set is the rules of one file, immutable. Live publishes the set in force, and
// File reads a file again when it changes. No question to a Set ever blocks.
//
// It must not know how a stream ID is read (streamid) or how it travels (shard): to
// this package it is text.
package rules

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
)

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
	limits   limits
}

// entry is a stream ID that replaces what a caller sends, or stands in for a missing
// one; or a dialect; or both.
type entry struct {
	streamID string // empty for none
	override bool   // also for a caller that sends one
	dialect  Dialect
}

// Request is the input of the rules.
type Request struct {
	// ListenPort is the port that the caller dialled.
	ListenPort uint16
	// Caller is the caller's address.
	Caller netip.AddrPort
	// StreamID is the stream ID as sent, empty for none.
	StreamID string
	// HSv4 means that the caller's handshake cannot contain a stream ID.
	HSv4 bool
}

// Origin says where an effective stream ID comes from.
type Origin string

// The origins in order of precedence. With OriginNone the stream ID is empty.
const (
	OriginSent    Origin = "sent"
	OriginSource  Origin = "source"
	OriginPort    Origin = "port"
	OriginDefault Origin = "default"
	OriginNone    Origin = "none"
)

// Verdict is the effective stream ID.
type Verdict struct {
	StreamID string
	From     Origin
	// Changed means that it is not what the caller sent.
	Changed bool
}

// Apply chooses the stream ID: what the caller sent, else that of the source
// network, the listener port, the default, in this order. An entry with
// override comes before what the caller sent. Of several networks only the
// narrowest counts, so that a narrow entry without override exempts from a
// wide one with it.
func (s *Set) Apply(in Request) Verdict {
	source, port, fallback := s.candidates(in)
	chosen := Verdict{StreamID: in.StreamID, From: OriginNone}
	switch {
	case source != nil && source.override:
		chosen = Verdict{StreamID: source.streamID, From: OriginSource}
	case port != nil && port.override:
		chosen = Verdict{StreamID: port.streamID, From: OriginPort}
	case fallback != nil && fallback.override:
		chosen = Verdict{StreamID: fallback.streamID, From: OriginDefault}
	case in.StreamID != "":
		chosen.From = OriginSent
	case source != nil && source.streamID != "":
		chosen = Verdict{StreamID: source.streamID, From: OriginSource}
	case port != nil && port.streamID != "":
		chosen = Verdict{StreamID: port.streamID, From: OriginPort}
	case fallback != nil:
		chosen = Verdict{StreamID: fallback.streamID, From: OriginDefault}
	}
	chosen.Changed = chosen.StreamID != in.StreamID
	return chosen
}

// candidates returns the entries that match the caller, nil for none.
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

// Injection says how SRS gets the caller's address. The zero value means not at
// all.
type Injection struct {
	// Key names the parameter, empty for none.
	Key string
	// Port adds the caller's UDP port to its address.
	Port bool
}

// Injection returns how SRS gets the caller's address.
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

// Dialect is the way in which the servers behind the relay read stream IDs. To this
// package it is a name; package streamid implements it.
type Dialect string

// The dialects. An entry or a set may have none: then the next one in order of
// precedence counts, and DialectAuto last.
const (
	// DialectAuto reads MediaMTX's form, publish:PATH and read:PATH, as
	// MediaMTX does, and everything else as SRS does.
	DialectAuto     Dialect = "auto"
	DialectSRS      Dialect = "srs"
	DialectMediaMTX Dialect = "mediamtx"
	// DialectPlain reads the text as the stream's name.
	DialectPlain Dialect = "plain"
)

var dialects = []string{string(DialectAuto), string(DialectSRS), string(DialectMediaMTX), string(DialectPlain)}

// Dialect returns the dialect of a caller's stream ID: that of its source network,
// else of its listener port, else of the file, else DialectAuto.
func (s *Set) Dialect(in Request) Dialect {
	source, port, _ := s.candidates(in)
	switch {
	case source != nil && source.dialect != "":
		return source.dialect
	case port != nil && port.dialect != "":
		return port.dialect
	case s != nil && s.dialect != "":
		return s.dialect
	}
	return DialectAuto
}

func (d *Dialect) parse(a position) error {
	text, err := a.text()
	if err != nil {
		return err
	}
	for _, name := range dialects {
		if text == name {
			*d = Dialect(text)
			return nil
		}
	}
	return a.refuse(text, errors.New("not one of "+strings.Join(dialects, ", ")))
}

// Live publishes the set in force: one atomic load, no lock. Nil publishes
// none. The zero value is ready for use.
type Live struct{ current atomic.Pointer[Set] }

// Set returns the rules in force, nil for none. Two calls may return two sets.
func (l *Live) Set() *Set {
	if l == nil {
		return nil
	}
	return l.current.Load()
}

// Publish puts a set in force.
func (l *Live) Publish(s *Set) { l.current.Store(s) }
