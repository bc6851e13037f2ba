package shard

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/ledger"
	"srtrelay/wire"
)

// ledgerFile is a ledger in plain memory.
type ledgerFile struct {
	ledger.Header
	bytes    []byte
	reserved int64 // bytes
	fail     error // of reserve, beyond the header and the first places
}

// use has a group that does not run yet use a ledger.
func (f *ledgerFile) use(t *testing.T, g *Group) {
	t.Helper()
	f.Header = ledger.Header{Nonce: 5, Shards: len(g.shards), PerShard: g.LedgerPlaces()}
	for _, a := range g.Addrs() {
		f.Listen = append(f.Listen, addr.From(a))
	}
	f.bytes = make([]byte, f.Size())
	if err := f.Encode(f.bytes); err != nil {
		t.Fatal(err)
	}
	if err := g.UseLedger(&f.Header, f.bytes, f.reserve); err != nil {
		t.Fatal(err)
	}
}

func (f *ledgerFile) reserve(_, n int64) error {
	if f.fail != nil {
		return f.fail
	}
	f.reserved += n
	return nil
}

// ids are the socket IDs of the callers recorded.
func (f *ledgerFile) ids(t *testing.T) (ids []uint32) {
	t.Helper()
	if damaged := f.Scan(0, f.bytes, func(r ledger.Record) { ids = append(ids, r.CallerID) }); damaged > 0 {
		t.Errorf("%d damaged records", damaged)
	}
	slices.Sort(ids)
	return ids
}

func TestLedgerFollowsSessions(t *testing.T) {
	r := newRig(t)
	var f ledgerFile
	f.use(t, r.owner)
	c := r.dialFront()
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(c, callerID+1, callerISN, backendID+1)
	var recorded []ledger.Record
	f.Scan(0, f.bytes, func(r ledger.Record) { recorded = append(recorded, r) })
	_, ss := r.sessions.byCaller(0, &recorded[0].Caller, recorded[0].CallerID)
	if len(recorded) != 2 || recorded[0].Caller != fromConn(r.caller) || recorded[0].CallerID != callerID ||
		ss == nil || recorded[0].Gen != ss.gen || recorded[0].Local != ss.local {
		t.Errorf("recorded %+v", recorded)
	}
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
	if ids := f.ids(t); !slices.Equal(ids, []uint32{callerID + 1}) {
		t.Errorf("after one has ended: %x", ids)
	}
	// A handshake that is not complete is nobody's session.
	x := r.dialFront()
	r.send(x, conclusion(callerID+2, callerISN, r.cookie(x, callerID+2), 500))
	if ids := f.ids(t); len(ids) != 1 {
		t.Errorf("a half-open handshake is recorded: %x", ids)
	}
	r.owner.Close()
	if ids := f.ids(t); len(ids) != 0 {
		t.Errorf("after the stop: %x", ids)
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	r := newRig(t)
	new(ledgerFile).use(t, r.owner)
	r.establish(r.caller, callerID, callerISN, backendID)
	ss := r.sessions.at(0)
	if n := testing.AllocsPerRun(100, func() {
		r.clearRecord(0)
		r.writeRecord(0, ss)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// recordAll enters the sessions as connected does.
func recordAll(r *rig) {
	r.sessions.each(func(i uint32, ss *session) {
		if ss.state == StateEstablished {
			r.writeRecord(i, ss)
		}
	})
}

// awaitGrowth waits until the ledger's growth has been taken.
func awaitGrowth(r *rig) {
	for r.Shard.ledger.growing {
		r.owner.loops.Wait()
		r.turn()
	}
}

// Memory is reserved as sessions need it, and those that came before it was
// there are recorded then.
func TestLedgerGrows(t *testing.T) {
	const sessions = ledgerGrowth + 2*chunkSize
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = sessions, nil })
	var f ledgerFile
	f.use(t, r.owner)
	if f.reserved != chunkSize*ledger.RecordSize {
		t.Errorf("%d bytes reserved at the start", f.reserved)
	}
	fillSessions(r, sessions, 1)
	recordAll(r)
	if n := len(f.ids(t)); n != chunkSize {
		t.Errorf("%d recorded without memory for more than %d", n, chunkSize)
	}
	awaitGrowth(r)
	if n := len(f.ids(t)); n != sessions || f.reserved != sessions*ledger.RecordSize {
		t.Errorf("%d recorded, %d bytes; want %d", n, f.reserved, sessions)
	}
}

// On a full file system the sessions without a place go on without one, and
// get it when there is room again.
func TestLedgerWithoutMemory(t *testing.T) {
	const sessions = chunkSize + 10
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = sessions, nil })
	var f ledgerFile
	f.use(t, r.owner)
	fillSessions(r, sessions, 1)
	f.fail = errors.New("no space left on device")
	recordAll(r)
	awaitGrowth(r)
	recordAll(r) // asks no more for a while
	if r.Shard.ledger.growing || len(f.ids(t)) != chunkSize {
		t.Errorf("growing %v, %d recorded", r.Shard.ledger.growing, len(f.ids(t)))
	}
	r.endSession(chunkSize+1, r.sessions.at(chunkSize+1), CauseKicked)
	f.fail = nil
	r.now += ledgerRetry
	recordAll(r)
	awaitGrowth(r)
	if n := len(f.ids(t)); n != sessions-1 {
		t.Errorf("%d recorded, want %d", n, sessions-1)
	}
}

func TestLedgerThatCannotBegin(t *testing.T) {
	r := newRig(t)
	f := ledgerFile{fail: errors.New("no space left on device")}
	h := ledger.Header{Shards: 1, PerShard: r.owner.LedgerPlaces()}
	if err := r.owner.UseLedger(&h, make([]byte, h.Size()), f.reserve); !errors.Is(err, f.fail) {
		t.Error(err)
	}
	r.establish(r.caller, callerID, callerISN, backendID) // without
}

// The callers of a shard that panicked stay in the ledger, for nobody tells
// them; those of the others do not.
func TestLedgerKeepsCallersOfAPanickedShard(t *testing.T) {
	var f ledgerFile
	r := newRig(t, func(c *Config) { c.Shards = 2 })
	f.use(t, r.owner)
	l := &loops{Group: r.owner, rig: r}
	c := []any{l.establishOn(0), l.establishOn(1)}
	if ids := f.ids(t); len(ids) != len(c) {
		t.Fatalf("recorded %x", ids)
	}
	l.Start()
	l.shards[0].inbox.postAlways(func(*Shard) { panic("boom") })
	<-l.Broken()
	l.Stop()
	if ids := f.ids(t); !slices.Equal(ids, []uint32{callerID}) {
		t.Errorf("left %x, want %x", ids, callerID)
	}
}

// Callers of an earlier process get one SHUTDOWN each from the address they had
// dialled; whoever is back with the same socket ID gets none.
func TestFormerCallersAreTold(t *testing.T) {
	l := startLoops(t, 2)
	const former = 2*formerPerSlice + 3
	c := l.dialFront()
	callers := []ledger.Record{
		{Caller: fromConn(l.callers[0]), CallerID: callerID, Gen: 1},
		{Caller: fromConn(l.callers[1]), CallerID: callerID + 1, Gen: 1},
		{Caller: fromConn(c), CallerID: 77, Gen: 1},
	}
	for len(callers) < former {
		callers = append(callers, ledger.Record{Caller: fromConn(l.backend), CallerID: uint32(len(callers)), Gen: 1})
	}
	if sent := l.ShutDownFormerCallers(t.Context(), callers); sent != former-2 {
		t.Errorf("%d told, want %d", sent, former-2)
	}
	awaitShutdown(t, c, 77)
	l.Stop()
	l.expectNothing(c)
	if n := l.shards[0].counters.Read(0).Values[CountShutdownsMade] + l.shards[1].counters.Read(1).Values[CountShutdownsMade]; n != former-2+4 {
		t.Errorf("%d SHUTDOWNs made, want %d and two for each session at the stop", n, former-2)
	}
}

// Who tells callers does not wait for a relay that has stopped.
func TestFormerCallersOfAStoppedGroup(t *testing.T) {
	l := startLoops(t, 1)
	l.Stop()
	callers := make([]ledger.Record, 10*formerPerSlice)
	if sent := l.ShutDownFormerCallers(t.Context(), callers); sent != 0 {
		t.Errorf("%d told", sent)
	}
}

// A slice of callers takes a small part of a turn, whatever the machine.
func TestFormerCallersInSlices(t *testing.T) {
	if rate := formerPerSlice * int(time.Second/formerInterval); rate > 20_000 {
		t.Errorf("%d SHUTDOWNs/s", rate)
	}
	r := newRig(t)
	callers := make([]ledger.Record, formerPerSlice)
	nowhere := netip.MustParseAddr("127.127.0.1")
	for k := range callers {
		callers[k] = ledger.Record{Caller: addrFrom(nowhere, uint16(1+k)), CallerID: uint32(1 + k), Gen: 1}
	}
	back := make([]bool, len(callers))
	if n := testing.AllocsPerRun(10, func() {
		r.findFormer(callers, back)
		r.sendFormerShutdowns(callers, back)
		r.flush()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
