//go:build linux

package rig

import (
	"fmt"
	"slices"
	"time"

	"srtrelay/bench/live"
)

// fault is a time in which a server could not keep its sessions.
type fault struct {
	server   int
	from, to int64 // CLOCK_MONOTONIC in ns; to is 0 while it lasts
}

// afterFault is how long after a fault its consequences may still come: a relay finds a
// silent server within 6 s, and callers wait for data that is lost.
const afterFault = int64(10 * time.Second)

// maxDetails is how many lines about single sessions are kept.
const maxDetails = 12

// Losses are the losses that no fault excuses.
type Losses struct {
	Sessions   uint64 `json:"sessions"`   // ended, and not by their caller
	Up         uint64 `json:"up"`         // datagrams from callers
	Down       uint64 `json:"down"`       // datagrams to callers
	Duplicated uint64 `json:"duplicated"` // datagrams
	Reordered  uint64 `json:"reordered"`
	// Excused is sessions whose server was stopped or killed.
	Excused uint64 `json:"excused"`
	// Paired is how many sessions had both ledgers compared.
	Paired  uint64   `json:"paired"`
	Details []string `json:"details,omitempty"`
}

// Datagrams returns how many datagrams were lost both ways.
func (l Losses) Datagrams() uint64 { return l.Up + l.Down }

func (l *Losses) detail(format string, args ...any) {
	if len(l.Details) < maxDetails {
		l.Details = append(l.Details, fmt.Sprintf(format, args...))
	}
}

// Add adds up.
func (l *Losses) Add(o Losses) {
	l.Sessions += o.Sessions
	l.Up += o.Up
	l.Down += o.Down
	l.Duplicated += o.Duplicated
	l.Reordered += o.Reordered
	l.Excused += o.Excused
	l.Paired += o.Paired
	for _, d := range o.Details {
		l.detail("%s", d)
	}
}

// side is the ledgers of one end.
type side struct {
	// seen are the last ledgers of open sessions.
	seen map[end]live.Ledger
	// ended are ledgers that wait for that of the other end.
	ended map[uint32]live.Ledger
}

// end identifies one end of a session. After a failover within the handshake two servers
// may have an end of it, so servers' ends have the server.
type end struct {
	caller uint32
	server int
}

// pauses are the times in which the relay itself was stopped.
type pauses []fault

// during reports whether the relay was stopped when a session ended, or just before.
func (p pauses) during(at int64) bool {
	for _, f := range p {
		if at >= f.from && (f.to == 0 || at <= f.to+afterFault) {
			return true
		}
	}
	return false
}

// accounts compare the ledgers of both ends. Only the goroutine that settles uses them.
type accounts struct {
	callers, servers side
	home             map[uint32]int      // server of an open session
	spared           map[uint32]struct{} // sessions that a fault excuses
	faults           []fault
	paused           pauses
	restarts         []fault // in which all sessions end
}

func newAccounts() *accounts {
	s := func() side { return side{map[end]live.Ledger{}, map[uint32]live.Ledger{}} }
	return &accounts{callers: s(), servers: s(), home: map[uint32]int{}, spared: map[uint32]struct{}{}}
}

// excused reports whether a fault explains what happened to a session at a
// time.
func (a *accounts) excused(l live.Ledger, at int64) bool {
	if _, ok := a.spared[l.Caller]; ok || a.restarted(at) {
		return true
	}
	home, known := a.home[l.Caller]
	if !known {
		home = l.Server
	}
	for _, f := range a.faults {
		if (home < 0 || home == f.server) && at >= f.from && (f.to == 0 || at <= f.to+afterFault) {
			return true
		}
	}
	return false
}

// restarted reports whether a session ended because the relay was restarted.
func (a *accounts) restarted(at int64) bool {
	return slices.ContainsFunc(a.restarts, func(f fault) bool { return at >= f.from && (f.to == 0 || at <= f.to) })
}

// began notes that a server's sessions are excused from now on.
func (a *accounts) began(server int, now int64, sessions []live.Ledger) {
	a.faults = append(a.faults, fault{server: server, from: now})
	a.spare(sessions)
}

// spare notes that these sessions are excused.
func (a *accounts) spare(sessions []live.Ledger) {
	for _, l := range sessions {
		a.spared[l.Caller] = struct{}{}
	}
}

// over ends the faults of a server.
func (a *accounts) over(server int, now int64) {
	for i := range a.faults {
		if f := &a.faults[i]; f.server == server && f.to == 0 {
			f.to = now
		}
	}
}

// forgetAfter is how long after its end something may still be reported of a session.
const forgetAfter = int64(time.Minute)

// forget drops faults that can excuse nothing any more, and ledgers without another end: of
// servers that died, and of callers whose answer was lost.
func (a *accounts) forget(now int64) {
	for id, l := range a.callers.ended {
		if now-l.At > forgetAfter && a.excused(l, l.At) {
			a.drop(id)
		}
	}
	for id, l := range a.servers.ended {
		if now-l.At > forgetAfter {
			a.drop(id)
		}
	}
	kept := a.faults[:0]
	for _, f := range a.faults {
		if f.to == 0 || now-f.to < 2*forgetAfter {
			kept = append(kept, f)
		}
	}
	a.faults = kept
}

// fromServer adds the report of a server.
func (a *accounts) fromServer(r live.Report, now int64, l *Losses) {
	for _, s := range r.Sessions {
		a.home[s.Caller] = s.Server
		a.gaps(&a.servers, end{s.Caller, s.Server}, s, now, &l.Up, l)
	}
	for _, s := range r.Ended {
		a.home[s.Caller] = s.Server
		a.gaps(&a.servers, end{s.Caller, s.Server}, s, s.At, &l.Up, l)
		delete(a.servers.seen, end{s.Caller, s.Server})
		// After a failover within the handshake the first server has a session
		// without a caller. The other one's ledger counts.
		if before, has := a.servers.ended[s.Caller]; has && before.Received > s.Received {
			continue
		}
		if c, has := a.callers.ended[s.Caller]; !has && s.Received == 0 && s.End == live.TimedOut || has && c.Server >= 0 && c.Server != s.Server {
			continue
		}
		a.servers.ended[s.Caller] = s
		a.pair(s.Caller, l)
	}
}

// fromCallers adds the ledgers of the callers.
func (a *accounts) fromCallers(open, ended []live.Ledger, now int64, l *Losses) {
	for _, s := range open {
		a.gaps(&a.callers, end{caller: s.Caller}, s, now, &l.Down, l)
	}
	for _, s := range ended {
		a.gaps(&a.callers, end{caller: s.Caller}, s, s.At, &l.Down, l)
		delete(a.callers.seen, end{caller: s.Caller})
		if s.End != live.Planned && s.End != live.Redialled {
			if a.excused(s, s.At) {
				l.Excused++
			} else if s.End != live.Incomplete {
				l.Sessions++
				l.detail("session %d (%s, server %d): %s", s.Caller, s.Stream, s.Server, s.End)
			}
		}
		a.callers.ended[s.Caller] = s
		a.pair(s.Caller, l)
	}
}

// gaps counts the losses of a ledger since the last call.
func (a *accounts) gaps(s *side, e end, l live.Ledger, at int64, lost *uint64, sum *Losses) {
	before := s.seen[e]
	s.seen[e] = l
	if l.Lost == before.Lost && l.Duplicated == before.Duplicated && l.Reordered == before.Reordered {
		return
	}
	sum.Reordered += l.Reordered - before.Reordered
	if a.excused(l, at) {
		return
	}
	// A late datagram reduces the count: the sum may wrap for a moment, and is right in
	// the end.
	*lost += l.Lost - before.Lost
	sum.Duplicated += l.Duplicated - before.Duplicated
	if l.Lost > before.Lost {
		sum.detail("session %d (%s, server %d): %d datagrams lost", l.Caller, l.Stream, l.Server, l.Lost-before.Lost)
	}
}

// pair compares both ends of an ended session: losses at its very end leave no gap.
func (a *accounts) pair(id uint32, l *Losses) {
	c, one := a.callers.ended[id]
	s, two := a.servers.ended[id]
	if !one || !two {
		return
	}
	_, spared := a.spared[id]
	spared = spared || a.paused.during(c.At) || a.restarted(c.At)
	complete := c.End == live.Planned || c.End == live.Redialled || c.End == live.Incomplete && !a.excused(c, c.At)
	if complete && !spared {
		if tail := c.Sent - s.Received - s.Lost; int64(tail) > 0 {
			l.Up += tail
			l.detail("session %d (%s, server %d): the last %d datagrams of the caller lost", id, c.Stream, s.Server, tail)
		}
		if tail := s.Sent - c.Received - c.Lost; int64(tail) > 0 && c.End != live.Redialled {
			l.Down += tail
			l.detail("session %d (%s, server %d): the last %d datagrams to the caller lost", id, c.Stream, s.Server, tail)
		}
	}
	l.Paired++
	a.drop(id)
}

func (a *accounts) drop(id uint32) {
	delete(a.callers.ended, id)
	delete(a.servers.ended, id)
	delete(a.callers.seen, end{caller: id})
	delete(a.servers.seen, end{id, a.home[id]})
	delete(a.home, id)
	delete(a.spared, id)
}

// unpaired counts the sessions that ended at their caller and at no server, although none
// of the servers died.
func (a *accounts) unpaired() (n int) {
	for id, l := range a.callers.ended {
		if _, spared := a.spared[id]; !spared && !a.excused(l, l.At) {
			n++
		}
	}
	return n
}
