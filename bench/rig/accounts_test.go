//go:build linux

package rig

import (
	"testing"

	"srtrelay/bench/live"
)

// ends is a planned session's two ledgers.
func ends(id uint32, sent, received, back, got uint64) (c, s live.Ledger) {
	c = live.Ledger{Caller: id, Server: 1, Sent: sent, Received: got, End: live.Planned, At: 100}
	s = live.Ledger{Caller: id, Server: 1, Sent: back, Received: received, End: live.HungUp, At: 101}
	return c, s
}

func settle(a *accounts, c, s []live.Ledger, now int64) (l Losses) {
	a.fromServer(live.Report{Ended: s}, now, &l)
	a.fromCallers(nil, c, now, &l)
	return l
}

func TestLastDatagramsAreMissed(t *testing.T) {
	a := newAccounts()
	c, s := ends(7, 20, 17, 30, 29)
	if l := settle(a, []live.Ledger{c}, []live.Ledger{s}, 200); l.Up != 3 || l.Down != 1 || l.Paired != 1 || l.Sessions != 0 {
		t.Errorf("%+v", l)
	}
	if len(a.home)+len(a.callers.ended)+len(a.servers.ended)+len(a.callers.seen)+len(a.servers.seen) != 0 {
		t.Errorf("kept: %+v", a)
	}
}

// Gaps count once, when they are seen, and not again at the end.
func TestGapsCountOnce(t *testing.T) {
	a := newAccounts()
	var l Losses
	open := live.Ledger{Caller: 7, Server: 1, Sent: 9, Received: 8, Lost: 2}
	a.fromCallers([]live.Ledger{open}, nil, 50, &l)
	a.fromCallers([]live.Ledger{open}, nil, 60, &l)
	c, s := ends(7, 20, 20, 30, 27)
	c.Lost = 3
	end := settle(a, []live.Ledger{c}, []live.Ledger{s}, 200)
	if l.Down != 2 || end.Down != 1 || end.Up != 0 {
		t.Errorf("%+v, at the end %+v", l, end)
	}
}

// What one server has lost of a session is not taken back by another one that
// ends what a handshake has left there.
func TestGapsAreOfOneServer(t *testing.T) {
	a := newAccounts()
	var l Losses
	lived := live.Ledger{Caller: 7, Server: 2, Received: 8, Lost: 2}
	a.fromServer(live.Report{Sessions: []live.Ledger{{Caller: 7, Server: 1}, lived}}, 50, &l)
	if l.Up != 2 {
		t.Errorf("%+v", l)
	}
	l = Losses{}
	a.fromServer(live.Report{Ended: []live.Ledger{{Caller: 7, Server: 1, End: live.TimedOut, At: 60}}, Sessions: []live.Ledger{lived}}, 70, &l)
	if l.Up != 0 {
		t.Errorf("after the end of what was left: %d lost", int64(l.Up))
	}
}

// A dead server's sessions are excused, all others are not.
func TestFaultsExcuse(t *testing.T) {
	a := newAccounts()
	a.began(1, 90, []live.Ledger{{Caller: 7, Server: 1}})
	a.over(1, 120)
	hungUp := func(id uint32, server int, at int64) live.Ledger {
		return live.Ledger{Caller: id, Server: server, End: live.HungUp, At: at}
	}
	l := settle(a, []live.Ledger{
		hungUp(7, 1, 95), hungUp(8, 1, 119), hungUp(9, -1, 100), // the fault's
		hungUp(10, 2, 100), hungUp(11, 1, 121+afterFault), hungUp(12, 1, 80), // not the fault's
	}, nil, 200)
	if l.Excused != 3 || l.Sessions != 3 || len(l.Details) != 3 {
		t.Errorf("%+v", l)
	}
	if n := a.unpaired(); n != 3 {
		t.Errorf("%d sessions have no server's ledger", n)
	}
	a.forget(200 + 3*forgetAfter)
	if len(a.faults) != 0 || len(a.spared) != 0 {
		t.Errorf("kept: %+v", a)
	}
}

// A handshake that went on to another server leaves a session at the first one
// that has no caller.
func TestOrphansAreNotPaired(t *testing.T) {
	a := newAccounts()
	c, s := ends(7, 20, 20, 30, 30)
	orphan := live.Ledger{Caller: 7, Server: 3, End: live.TimedOut, Sent: 30, At: 105}
	if l := settle(a, []live.Ledger{c}, []live.Ledger{orphan, s}, 200); l.Datagrams() != 0 || l.Paired != 1 {
		t.Errorf("%+v", l)
	}
}

func TestKernelTables(t *testing.T) {
	byPort, err := parseSockets("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		"  257: 0100007F:2711 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 17\n" +
		"  258: 0200007F:2711 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 3\n")
	if err != nil || byPort[10001] != 20 || len(byPort) != 1 {
		t.Errorf("%v, %v", byPort, err)
	}
	sum, err := parseSoftnet("00000001 0000000a 00000000\n00000002 00000010 00000000\n")
	if err != nil || sum != 26 {
		t.Errorf("%d, %v", sum, err)
	}
	if n := numberOf("# HELP x\ngo_goroutines 61\nVmRSS:\t  1234 kB\n", "VmRSS:"); n != 1234 {
		t.Errorf("%d", n)
	}
}

// A restart ends all sessions and excuses them. Those that connected behind it are not excused.
func TestRestartExcuses(t *testing.T) {
	a := newAccounts()
	a.spare([]live.Ledger{{Caller: 7, Server: 1}})
	a.restarts = append(a.restarts, fault{from: 90, to: 120})
	hungUp := func(id uint32, at int64) live.Ledger {
		return live.Ledger{Caller: id, Server: 1, End: live.HungUp, At: at}
	}
	l := settle(a, []live.Ledger{
		hungUp(7, 130), hungUp(8, 100), // it ran before; it connected while the relay stopped
		hungUp(9, 80), hungUp(10, 121),
	}, nil, 200)
	if l.Excused != 2 || l.Sessions != 2 {
		t.Errorf("%+v", l)
	}
}

// Data may be under way to a caller that connects again, but none from it.
func TestRedialledLosesNoData(t *testing.T) {
	a := newAccounts()
	c, s := ends(7, 20, 20, 30, 29)
	d, u := ends(8, 20, 19, 30, 30)
	c.End, d.End = live.Redialled, live.Redialled
	if l := settle(a, []live.Ledger{c, d}, []live.Ledger{s, u}, 200); l.Up != 1 || l.Down != 0 || l.Sessions != 0 {
		t.Errorf("%+v", l)
	}
}
