package shard

import (
	"log/slog"
	"testing"
	"time"

	"srtrelay/internal/supervise"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// newKernelWorld is a world with the kernel path, in a network namespace of its own.
func newKernelWorld(t *testing.T) *world {
	t.Helper()
	enterNamespace(t)
	var w *world
	t.Cleanup(func() { // after the group has stopped
		if w != nil && w.cfg.Kernel != nil {
			w.cfg.Kernel.Close()
		}
	})
	w = newWorld(t, func(c *Config) { c.Kernel = openPath(t, c.Shards, nil) })
	return w
}

func openPath(t *testing.T, shards int, adopt []kernelpath.File) *kernelpath.Path {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	path, err := kernelpath.Open(kernelpath.Config{
		Shards: shards, Places: 4 * chunkSize, Adopt: adopt, Log: log, Supervisor: supervise.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// takeOverPath replaces the group by a successor that takes the kernel path over too.
func (w *world) takeOverPath(t *testing.T) {
	t.Helper()
	old := w.cfg.Kernel
	old.Freeze()
	w.takeOver(func(c *Config) { c.Kernel = openPath(t, c.Shards, old.Files()) })
	old.Release()
}

// awaitKernel waits until so many more datagrams have passed in the kernel.
func (w *world) awaitKernel(more uint64) {
	w.t.Helper()
	passed := func() (n uint64) {
		for k := range w.shards {
			s := w.cfg.Kernel.Shard(k)
			for place := range uint32(chunkSize) {
				for way := range 2 {
					n += uint64(s.Way(place, way).Passed().Packets)
				}
			}
		}
		return n
	}
	from := passed()
	for end := time.Now().Add(20 * time.Second); passed() < from+more; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d datagrams have passed in the kernel, want %d; counters %v", passed()-from, more, w.nonzero())
		}
	}
}

// Twenty take-overs with the kernel path follow each other: nothing is lost or reordered, no
// session leaves the path, and what was added up is what has passed, to the datagram.
func TestTakeOversInKernelPathLoseNothing(t *testing.T) {
	w := newKernelWorld(t)
	w.connect(40)
	w.traffic()
	for range 20 {
		w.awaitKernel(100)
		w.takeOverPath(t)
	}
	w.awaitKernel(100)
	if packets := w.settle(); packets < 2000 {
		t.Errorf("only %d packets passed", packets)
	}
	var added, passed [2]uint64
	var inKernel int
	for _, s := range w.shards {
		if err := s.inbox.do(w.soon(), func(s *Shard) {
			s.addUpKernel()
			s.sessions.each(func(i uint32, ss *session) {
				if !ss.inKernel {
					return
				}
				inKernel++
				for way := range added {
					passed[way] += uint64(s.kernel.path.Way(i, way).Passed().Packets)
				}
			})
			added[telemetry.ToBackend] += s.counters.local[CountKernelToBackend]
			added[telemetry.ToCaller] += s.counters.local[CountKernelToCaller]
		}); err != nil {
			t.Fatal(err)
		}
	}
	if added != passed || inKernel != len(w.sessions) {
		t.Errorf("%d datagrams were added up, %d have passed; %d sessions in the kernel path", added, passed, inKernel)
	}
	if n := w.sum(CountKernelNotEntered); n != 0 {
		t.Errorf("%d sessions have left the path", n)
	}
}

// The process that was taken over from resumes with the kernel path if its successor dies.
func TestResumeInKernelPathAfterTakeOver(t *testing.T) {
	w := newKernelWorld(t)
	w.connect(8)
	w.traffic()
	path := w.cfg.Kernel
	for range 5 {
		w.awaitKernel(50)
		path.Freeze()
		var fresh *kernelpath.Path
		next := w.successor(func(c *Config) {
			fresh = openPath(t, c.Shards, path.Files())
			c.Kernel = fresh
		})
		next.Start()
		time.Sleep(20 * time.Millisecond) // of traffic
		if _, _, err := next.Freeze(w.soon()); err != nil {
			t.Fatal(err)
		}
		next.Abandon()
		fresh.Release()
		path.Unfreeze()
		w.Resume()
		w.cfg.Kernel = path
		if err := w.Reroute(w.soon()); err != nil { // as Follow does
			t.Fatal(err)
		}
	}
	w.awaitKernel(50)
	w.settle()
}

// A process without the kernel path takes over the sessions in it, and one with it has them
// enter a path of its own.
func TestKernelPathTurnedOffAndOnByTakeOver(t *testing.T) {
	w := newKernelWorld(t)
	w.connect(8)
	w.traffic()
	for range 3 {
		w.awaitKernel(50)
		old := w.cfg.Kernel
		old.Freeze()
		next := w.successor(func(c *Config) { c.Kernel = nil })
		if err := kernelpath.Evict(old.Files()); err != nil {
			t.Fatal(err)
		}
		next.Start()
		w.Abandon()
		old.Release()
		w.Group = next
		w.Settle()
		time.Sleep(20 * time.Millisecond) // of traffic
		w.takeOver(func(c *Config) { c.Kernel = openPath(t, c.Shards, nil) })
		if err := w.Reroute(w.soon()); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitKernel(50)
	w.settle()
}
