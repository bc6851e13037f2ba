package shard

import (
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/message"
	"srtrelay/shard/checkpoint"
	"srtrelay/shard/migration"
)

// checkpointFile is a checkpoint in memory.
type checkpointFile struct {
	checkpoint.Header
	bytes  []byte
	shards []*Shard // which write it
}

// useCheckpoint has the world go on with a group that keeps a checkpoint.
func (w *world) useCheckpoint() *checkpointFile {
	w.t.Helper()
	next := w.successor()
	f := &checkpointFile{Header: checkpoint.Header{Nonce: 5, Shards: len(next.shards), PerShard: next.LedgerPlaces(), Origin: next.Origin()}}
	f.bytes, f.shards = make([]byte, f.Size()), next.shards
	f.Encode(f.bytes)
	if err := next.UseCheckpoint(&f.Header, f.bytes, func(int64, int64) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
	next.Start()
	w.Abandon()
	w.Group = next
	w.Settle()
	return f
}

// records returns the records by shard. The loops, which write them, read their own: between
// two turns.
func (f *checkpointFile) records(t *testing.T) [][][]byte {
	t.Helper()
	all := make([][][]byte, f.Shards)
	size := int64(f.PerShard) * checkpoint.SlotSize
	for k, s := range f.shards {
		from, damaged := checkpoint.HeaderSize+int64(k)*size, 0
		if err := s.inbox.do(t.Context(), func(*Shard) {
			damaged = f.Scan(from, f.bytes[from:from+size], func(shard int, record []byte) {
				all[shard] = append(all[shard], append([]byte(nil), record...))
			})
		}); err != nil || damaged > 0 {
			t.Fatalf("shard %d: %v, %d damaged records", k, err, damaged)
		}
	}
	return all
}

// crash replaces the group by one that knows of its sessions only what the checkpoint says.
func (w *world) crash(from Recovery) Recovered {
	w.t.Helper()
	cfg := w.cfg
	cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
	next, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.freeze()
	done, err := next.Recover(from)
	if err != nil {
		next.Close()
		w.t.Fatal(err)
	}
	next.Start()
	w.Abandon()
	w.Group = next
	w.Settle()
	return done
}

func count(records [][][]byte) (n int) {
	for _, some := range records {
		n += len(some)
	}
	return n
}

// Sessions go on in a group that has the sockets and the records: those that were there before
// the checkpoint began, and those since.
func TestSessionsGoOnAfterCrash(t *testing.T) {
	w := newWorld(t)
	w.connect(20)
	f := w.useCheckpoint()
	w.connect(20)
	if n := count(f.records(t)); n != 40 {
		t.Fatalf("%d records of 40 sessions", n)
	}
	w.traffic()
	done := w.crash(Recovery{Records: f.records(t), KeepOthers: true})
	if done.Kept != 40 || done.Ended+done.Unfit != 0 || done.InKernelCount() != 0 {
		t.Errorf("%+v", done)
	}
	time.Sleep(30 * time.Millisecond) // of traffic
	w.settle()
	if n := w.Live(); n != 40 {
		t.Errorf("%d sessions, want 40", n)
	}
	if n := w.sum(CountEstablished); n != 0 {
		t.Errorf("%d sessions were established anew", n)
	}
}

// Sessions that the peers may have given up get a SHUTDOWN on both sides. Those that had ended
// have no record.
func TestSessionsEndAfterCrash(t *testing.T) {
	w := newWorld(t)
	f := w.useCheckpoint()
	w.connect(21)
	if err := w.sessions[20].SendShutdown(); err != nil {
		t.Fatal(err)
	}
	w.sessions = w.sessions[:20]
	for w.Live() > 20 {
		time.Sleep(time.Millisecond)
	}
	done := w.crash(Recovery{Records: f.records(t)})
	if done.Kept != 0 || done.Ended != 20 {
		t.Errorf("%+v", done)
	}
	for _, s := range w.sessions {
		select {
		case <-s.Done():
		case <-w.soon().Done():
			t.Fatal("a caller is not told")
		}
	}
	if err := w.backend.Await(w.soon(), func() bool { return w.backend.Live() == 0 }); err != nil {
		t.Errorf("a backend is not told: %v", err)
	}
	w.sessions = nil
}

// A record that does not fit leaves out its session, and no other.
func TestRecordsThatDoNotFit(t *testing.T) {
	w := newWorld(t)
	f := w.useCheckpoint()
	w.connect(20)
	records := f.records(t)
	good := records[0][0]
	bad := [][]byte{
		nil,
		{0xff},
		good[:len(good)-1], good, // the same place again
		message.AppendBytes(nil, snapshotSession, ""),
		message.AppendUint(append([]byte(nil), good...), checkpointPeerAddress, uint32(7)),
	}
	records[0] = append(records[0], bad...)
	done := w.crash(Recovery{Records: records, KeepOthers: true})
	if done.Kept != 20 || done.Unfit != len(bad) {
		t.Errorf("%+v, want 20 kept and %d that do not fit", done, len(bad))
	}
	w.traffic()
	time.Sleep(30 * time.Millisecond)
	w.settle()
}

// The balancer learns of sessions whose leases it does not know.
func TestLeasesAreRenewedAfterCrash(t *testing.T) {
	w := newWorld(t)
	f := w.useCheckpoint()
	w.connect(4)
	cfg := w.cfg
	cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
	next, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	records := f.records(t)
	w.freeze()
	if _, err := next.Recover(Recovery{Records: records, KeepOthers: true}); err != nil {
		t.Fatal(err)
	}
	asked := 0
	renewed := next.RenewLeases(func(q backend.Query, p backend.Backend, l backend.Lease) backend.Lease {
		asked++
		if q.Key == "" || !q.Caller.IsValid() || p.ID == "" || !p.Addr.IsValid() || l == 0 {
			t.Errorf("%+v at %+v, lease %d", q, p, l)
		}
		if asked == 1 {
			return l
		}
		return l + 1000
	})
	if asked != 4 || renewed != 3 || len(next.Leases()) != 2 {
		t.Errorf("%d asked, %d renewed, leases %v", asked, renewed, next.Leases())
	}
	w.Resume()
}

// A session that goes on after a crash knows its caller's clock: in the kernel path no datagram

// would tell it.
func TestClockOutlivesCrash(t *testing.T) {
	w := newWorld(t)
	f := w.useCheckpoint()
	w.connect(1)
	clock := func() (c migration.Trace) {
		for _, s := range w.shards {
			_ = s.inbox.do(w.soon(), func(s *Shard) {
				s.sessions.each(func(i uint32, _ *session) { c = s.sessions.cold(i).trace })
			})
		}
		return c
	}
	before := clock()
	w.crash(Recovery{Records: f.records(t), KeepOthers: true})
	if after := clock(); after != before || before == (migration.Trace{}) {
		t.Errorf("trace %+v, want %+v", after, before)
	}
}

// What a session has relayed before a crash, of which its record says nothing, is no bitrate.
func TestBytesBeforeCrashAreNoBitrate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stream.Bitrate = 10_000_000 })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.sessions.each(func(i uint32, ss *session) {
		ss.publisher = true
		ss.toBackend.Bytes += 4 << 30 // as the program counted them
		r.refreshRecovered(sessionRef{i, ss.gen}, ss)
	})
	r.pass(2 * sweepEvery)
	if n := r.count(CountStreamsOverLimit); n != 0 {
		t.Errorf("%d streams above their bitrate", n)
	}
}
