package shard

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
	"srtrelay/internal/supervise"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
	"srtrelay/wire"
)

// kernelRig is a rig with the kernel path, in a network namespace of its own.
type kernelRig struct {
	*rig
	path     *kernelpath.Path
	upstream netip.AddrPort // of the session
}

// enterNamespace moves the test to a network namespace with lo alone. Its thread ends with
// it.
func enterNamespace(t testing.TB) {
	t.Helper()
	need.Root(t, "a network namespace")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

func newKernelRig(t *testing.T, adopt []kernelpath.File, change ...func(*Config)) *kernelRig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	path, err := kernelpath.Open(kernelpath.Config{
		Shards: 1, Places: chunkSize, Adopt: adopt, Log: log, Supervisor: supervise.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(path.Close)
	// By the real clock a busy machine is silent for longer than peers are elsewhere.
	kernel := func(c *Config) { c.Kernel, c.IdleTimeout, c.BackendSilence = path, time.Hour, time.Hour }
	r := newRig(t, append([]func(*Config){kernel}, change...)...)
	return &kernelRig{rig: r, path: path}
}

// establishInKernel establishes a session whose ways are offered to the program, after a
// KEEPALIVE of each side.
func (r *kernelRig) establishInKernel() (i uint32, ss *session) {
	r.t.Helper()
	r.upstream = r.establish(r.caller, callerID, callerISN, backendID)
	if i, ss = r.session(); !ss.inKernel {
		r.t.Fatal("the session is not in the kernel path")
	}
	r.send(r.caller, keepalive(backendID))
	r.receive(r.backend)
	r.reply(r.upstream, keepalive(callerID))
	r.receive(r.caller)
	return i, ss
}

// keepalive builds a KEEPALIVE.
func keepalive(id uint32) []byte {
	b := make([]byte, wire.HeaderSize+4)
	wire.PutControl(b, wire.TypeKeepalive, 0, id)
	return b
}

// session returns the only session.
func (r *kernelRig) session() (i uint32, ss *session) {
	r.t.Helper()
	n := 0
	r.sessions.each(func(at uint32, one *session) { i, ss, n = at, one, n+1 })
	if n != 1 {
		r.t.Fatalf("%d sessions", n)
	}
	return i, ss
}

// takeOver returns a shard with the path and the session of another one, which is frozen.
func (r *kernelRig) takeOver(t *testing.T, change ...func(*Config)) *kernelRig {
	t.Helper()
	r.path.Freeze()
	i, ss := r.session()
	state := r.appendKernelState(nil, i, ss)
	fresh := newKernelRig(t, r.path.Files(), change...)
	fresh.meters, fresh.origin, fresh.peers.slots = r.meters, r.origin, r.peers.slots
	endsElsewhere(t, fresh.rig)
	if err := fresh.path.SetOrigin(r.origin); err != nil {
		t.Fatal(err)
	}
	at, copied := fresh.sessions.alloc()
	*copied = *ss
	copied.inKernel = false
	fresh.restoreAccount(at, copied)
	if at != i {
		t.Fatalf("place %d, want %d", at, i)
	}
	if err := fresh.restoreKernelState(at, copied, state); err != nil {
		t.Fatal(err)
	}
	return fresh
}

// endsElsewhere has a shard forget its session at the end.
func endsElsewhere(t *testing.T, r *rig) {
	t.Cleanup(func() { r.sessions = sessions{table: newTable()} })
}

// sendAll sends data packets from first on, and checks that the backend receives them.
func (r *kernelRig) sendAll(first uint32, n int) {
	r.t.Helper()
	for k := range uint32(n) {
		if _, err := r.caller.Write(dataPacket(first+k, backendID, 100)); err != nil {
			r.t.Fatal(err)
		}
	}
	for k := range uint32(n) {
		r.settle()
		if b, _ := r.receive(r.backend); len(b) != 116 || wire.Packet(b).Sequence() != first+k {
			r.t.Fatalf("received %x, want packet %d", b, first+k)
		}
	}
}

// The sums of a session go on over a take-over, to the datagram, and so does its telemetry.
func TestKernelStateGoesOn(t *testing.T) {
	enterNamespace(t)
	old := newKernelRig(t, nil)
	i, ss := old.establishInKernel()
	old.sendAll(callerISN, 10)
	old.pass(2 * sweepEvery)
	before := old.count(CountKernelToBackend)
	if before != 10 || ss.toBackend.Packets != 11 {
		t.Fatalf("%d datagrams passed of %d, want 10 of 11", before, ss.toBackend.Packets)
	}
	old.path.Freeze()
	if _, err := old.caller.Write(dataPacket(callerISN+10, backendID, 100)); err != nil { // in nobody's time
		t.Fatal(err)
	}
	fresh := old.takeOver(t)
	fresh.path.Start()
	fresh.caller, fresh.backend = old.caller, old.backend
	fresh.receive(fresh.backend)
	fresh.sendAll(callerISN+11, 5)
	fresh.pass(2 * sweepEvery)
	_, now := fresh.session()
	if n := before + fresh.count(CountKernelToBackend); n != 16 || now.toBackend.Packets != 17 {
		t.Errorf("%d datagrams passed of %d, want 16 of 17", n, now.toBackend.Packets)
	}
	if !now.inKernel || fresh.kernel.path.Way(i, 0).Mode() != kernelpath.On {
		t.Error("the session has left the kernel path")
	}
	fresh.refresh(i, now)
	if q := fresh.meters.Sequence(&now.meter, telemetry.ToBackend); q.Next != callerISN+16 {
		t.Errorf("the telemetry expects packet %d, want %d", q.Next, callerISN+16)
	}
}

// A way that was being handed over is handed over by the process that has taken over, and a
// process with other telemetry has the program learn it.
func TestKernelStateHandsOver(t *testing.T) {
	for name, c := range map[string]struct {
		pending   bool
		telemetry bool
	}{
		"pending": {true, true}, "telemetry off": {false, false}, "both": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			enterNamespace(t)
			old := newKernelRig(t, nil)
			i, ss := old.establishInKernel()
			old.sendAll(callerISN-2, 2) // the way is on
			if c.pending {
				old.leaveKernel(i, ss)
				old.enterKernel(i, ss, false)
				for k := range uint32(3) { // goes up, and is not offered
					old.relayedUp(i, ss, telemetry.ToBackend, dataPacket(callerISN+k, backendID, 100))
				}
			}
			fresh := old.takeOver(t, func(cfg *Config) { cfg.Telemetry = c.telemetry })
			_, now := fresh.session()
			w := fresh.kernel.path.Way(i, int(telemetry.ToBackend))
			if w.Mode() != kernelpath.Pending {
				t.Fatalf("mode %d", w.Mode())
			}
			if waits := fresh.kernel.state(i).ways[telemetry.ToBackend].waiting; waits != c.pending {
				t.Errorf("the way waits: %v", waits)
			}
			fresh.path.Start()
			if _, err := old.backend.WriteToUDPAddrPort(keepalive(callerID), old.upstream); err != nil {
				t.Fatal(err)
			}
			fresh.relayedUp(i, now, telemetry.ToCaller, keepalive(callerID))
			// The sockets are the old one's, so that its loop receives what goes up.
			for seq := uint32(callerISN); w.Mode() != kernelpath.On; seq++ {
				if seq == callerISN+10 {
					t.Fatal("the way does not become on")
				}
				p := dataPacket(seq, backendID, 100)
				if _, err := old.caller.Write(p); err != nil {
					t.Fatal(err)
				}
				if w.Mode() != kernelpath.On {
					fresh.relayedUp(i, now, telemetry.ToBackend, p)
					fresh.offerPending()
				}
			}
		})
	}
}

// A shard whose path was used by a process that has died has its sessions in user space, and
// enters them again. Its sums have what passed meanwhile.
func TestKernelResumes(t *testing.T) {
	enterNamespace(t)
	old := newKernelRig(t, nil)
	i, ss := old.establishInKernel()
	old.sendAll(callerISN, 4)
	fresh := old.takeOver(t)
	fresh.path.Start()
	if _, err := old.caller.Write(dataPacket(callerISN+4, backendID, 100)); err != nil {
		t.Fatal(err)
	}
	old.receive(old.backend)
	fresh.readAllRecords() // the old one will not see them
	fresh.path.Release()
	old.path.Unfreeze()
	old.resumeKernel()
	if ss.inKernel || old.kernel.sessions != 0 || ss.toBackend.Packets != 6 {
		t.Errorf("in the kernel: %v (%d), %d datagrams", ss.inKernel, old.kernel.sessions, ss.toBackend.Packets)
	}
	old.sendAll(callerISN+5, 3)
	if n := old.count(CountForwardedToBackend); n != 9 || ss.toBackend.Packets != 9 {
		t.Errorf("%d and %d datagrams, want 9", n, ss.toBackend.Packets)
	}
	old.rerouteSlice(0)
	old.reply(old.upstream, keepalive(callerID))
	for seq := uint32(callerISN + 8); old.kernel.path.Way(i, 0).Mode() != kernelpath.On; seq++ {
		old.sendAll(seq, 1)
		if seq == callerISN+20 {
			t.Fatal("the session does not enter the kernel path")
		}
	}
	old.resumeKernel() // nothing has happened since
	if !ss.inKernel {
		t.Error("the session has left the kernel path")
	}
}

// Without the path of the other process its sessions are in user space, with what had passed
// when it was frozen.
func TestKernelStateWithoutPath(t *testing.T) {
	enterNamespace(t)
	old := newKernelRig(t, nil)
	i, ss := old.establishInKernel()
	old.sendAll(callerISN, 3)
	old.addUpKernel()
	if ss.toBackend.Packets != 4 {
		t.Errorf("%d datagrams, want 4", ss.toBackend.Packets)
	}
	state := old.appendKernelState(nil, i, ss)
	for name, fresh := range map[string]*rig{"none": newRig(t), "its own": newKernelRig(t, nil).rig} {
		endsElsewhere(t, fresh)
		at, copied := fresh.sessions.alloc()
		*copied = *ss
		copied.inKernel = false
		if err := fresh.restoreKernelState(at, copied, state); err != nil || copied.inKernel {
			t.Errorf("%s: in the kernel: %v (%v)", name, copied.inKernel, err)
		}
	}
}

// A state that is damaged is an error and nothing else.
func TestKernelStateDamaged(t *testing.T) {
	enterNamespace(t)
	old := newKernelRig(t, nil)
	i, ss := old.establishInKernel()
	old.sendAll(callerISN, 3)
	old.pass(2 * sweepEvery)
	state := old.appendKernelState(nil, i, ss)
	old.path.Freeze()
	fresh := newKernelRig(t, old.path.Files())
	endsElsewhere(t, fresh.rig)
	at, copied := fresh.sessions.alloc()
	restore := func(b []byte, gen uint32) error {
		*copied = *ss
		copied.inKernel, copied.gen = false, gen
		fresh.kernel.sessions = 0
		return fresh.restoreKernelState(at, copied, b)
	}
	for n := 1; n < len(state); n++ {
		_ = restore(state[:n], ss.gen) // a field may end there
		if n%3 == 1 {
			damaged := append([]byte(nil), state...)
			damaged[n] ^= 0xff
			_ = restore(damaged, ss.gen)
		}
	}
	if err := restore(state[:len(state)-1], ss.gen); err == nil {
		t.Error("a state that is cut off is restored")
	}
	// A way of another session keeps this one in user space, and ends no take-over.
	if err := restore(state, ss.gen+1); err != nil || copied.inKernel {
		t.Errorf("the way of another session: in the kernel %v, %v", copied.inKernel, err)
	}
	unknown := append([]byte{15 << 3, 7}, state...) // a field of a later version
	if err := restore(unknown, ss.gen); err != nil || !copied.inKernel {
		t.Errorf("with a field of a later version: %v", err)
	}
}

// dataPacket builds a data packet of so many bytes of payload.
func dataPacket(seq, id uint32, payload int) wire.Packet {
	b := make([]byte, wire.HeaderSize+payload)
	binary.BigEndian.PutUint32(b, seq)
	binary.BigEndian.PutUint32(b[4:], 3<<30|1) // solo
	wire.Packet(b).SetTimestamp(seq)
	wire.Packet(b).SetDestID(id)
	return b
}
