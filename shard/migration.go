package shard

import (
	"math"
	"slices"

	"srtrelay/addr"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/migration"
	"srtrelay/wire"
)

// Migration: the caller of an established session goes on from another address, because a NAT
// gave it another port, or its host another network (ADR 24).
//
// A datagram that matches no session, but has the backend's socket ID of exactly one, may come
// from that session's caller. Its owner judges it (package migration), and then challenges the
// new address (candidate.go). Until the answer has come nothing from there is
// forwarded. Then migrate moves all that has the caller's address.

// fromElsewhere handles a datagram with the socket ID of session i, from another address than
// its caller's. What does not look like the session's is passed on: another relay may have a
// session with the same ID. What does is the session's: the timestamp of another one fits by
// chance only, its sequence numbers hardly ever, and what is a session's by its kind alone
// (a KEEPALIVE) takes a silent caller too.
func (s *Shard) fromElsewhere(i uint32, l *letterbox.Letter, p wire.Packet) Counter {
	if uint64(i) >= s.sessions.places() {
		return s.passOn(l, p)
	}
	ss := s.sessions.at(i)
	if ss.state != StateEstablished || ss.front != l.Front || ss.backendID != p.DestID() || !s.limits.Migration {
		return s.passOn(l, p)
	}
	c := s.candidates[i]
	if c != nil && !c.Moved() && c.From == l.From {
		return s.fromCandidate(i, ss, c, p)
	}
	v := s.judge(i, ss, p)
	switch {
	case v == migration.Implausible:
		return s.passOn(l, p)
	case c.Holds(s.now):
		return DropUnvalidated // one at a time
	case v == migration.Deferred:
		s.deferChallenge(i, ss, l, len(p))
		return DropForeignCaller
	case !s.admits(i, ss, l.From.IP):
		return DropForeignCaller
	case !s.mayBegin(i, ss, l.From.IP):
		return DropUnvalidated
	}
	delete(s.deferredAddresses, i)
	s.begin(i, ss, l, v == migration.Strong, len(p))
	return DropUnvalidated
}

// admits reports whether the rules and the limits allow a session of the same kind from an
// address.
func (s *Shard) admits(i uint32, ss *session, ip addr.IP) bool {
	rules, host := s.cfg.Rules.Set(), ip.Netip()
	// A caller without a stream ID may be one of HSv4, which both publishes and plays.
	if !rules.Admits(ss.publisher, host) || s.sessions.cold(i).streamID() == "" && !rules.Admits(true, host) {
		return false
	}
	return s.hasRoom(ss.caller.IP, ip)
}

// migrate gives a session another address of its caller: the one place where it changes. It is
// false if another session of this shard has the address and the same socket ID.
func (s *Shard) migrate(i uint32, ss *session, c *migration.Candidate) bool {
	if s.sessions.taken(i, ss, &c.From) {
		return false
	}
	e := s.sessionEvent(EventSessionMigrated, i, ss)
	e.Former, e.Took = e.Caller, s.now-ss.callerSeen
	e.Caller = c.From.Netip()
	s.leaveKernel(i, ss)
	s.kernel.forget(i)
	s.sessions.moveCaller(i, ss, c.From)
	s.usage.moved(i, c.From.IP)
	ss.local, ss.callerSeen = c.Local, s.now
	s.dropPendingInduction(i)
	s.writeRecord(i, ss)
	if cold := s.sessions.cold(i); cold.migrations < math.MaxUint16 {
		cold.migrations++
	}
	delete(s.announced, i)
	s.announce(i, ss, &c.Letter)
	s.enterKernel(i, ss, false)
	s.counters.inc(CountMigrations)
	s.emit(e)
	return true
}

// taken reports whether a key of session i at another address of its caller is another
// session's.
func (s *sessions) taken(i uint32, ss *session, caller *addr.AddrPort) bool {
	if _, other := s.byFront(ss.front, caller, ss.backendID); other != nil {
		return true
	}
	_, other := s.byCaller(ss.front, caller, ss.callerID)
	return ss.hasCallerKey && other != nil
}

// moveCaller enters a session under another address of its caller.
func (s *sessions) moveCaller(i uint32, ss *session, caller addr.AddrPort) {
	hasCallerKey := ss.hasCallerKey
	s.unkeyCaller(i, ss)
	s.table.remove(s.hash(keyFront, ss.front, &ss.caller, ss.backendID), makeRef(i, keyFront))
	ss.caller = caller
	s.keyFront(i, ss)
	if hasCallerKey {
		s.keyCaller(i, ss)
	}
}

// forget drops what is pending of a session that has left the path and may enter it again in
// the same turn.
func (k *kernel) forget(i uint32) {
	k.pending = slices.DeleteFunc(k.pending, func(ref kernelRef) bool { return ref.index == i })
}
