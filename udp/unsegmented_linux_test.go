package udp

import (
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// picky plays sendmmsg of a host whose routes refuse some superpackets: it
// stops at the first such message, as the kernel does.
type picky struct {
	refuse func(to uint16, segment, count int) unix.Errno
	tries  int // superpackets refused
	passed [][]int
}

func (k *picky) send(_ int, messages []unix.Mmsghdr) (int, unix.Errno) {
	for i := range messages {
		sizes := sizesInMessage(&messages[i].Hdr)
		to := getSockaddr((*sockaddr)(unsafe.Pointer(messages[i].Hdr.Name))).Port
		if errno := k.refuse(to, sizes[0], len(sizes)); errno != 0 && len(sizes) > 1 {
			if i > 0 {
				return i, 0
			}
			k.tries++
			return 0, errno
		}
		k.passed = append(k.passed, sizes)
	}
	return len(messages), 0
}

func pickyOutbox(t *testing.T, refuse func(to uint16, segment, count int) unix.Errno) (*Outbox, *picky) {
	k := &picky{refuse: refuse}
	o := NewOutbox(openBack(t, loopbacks["IPv4"], bothOffloads))
	o.send = k.send
	return o, k
}

// flushRun sends a run of three datagrams and returns as what it passed.
func flushRun(o *Outbox, k *picky, to, size int) [][]int {
	k.passed = nil
	for i := range 3 {
		o.Add(destination(to), addr.IP{}, 0, payload(i, size))
	}
	o.Flush()
	return k.passed
}

var (
	whole  = [][]int{{100, 100, 100}}
	pieces = [][]int{{100}, {100}, {100}}
)

// The bug: one EIO, of one destination, ended superpackets on the whole socket,
// for good.
func TestEIOOfOneDestinationLeavesTheOthersTheirSuperpackets(t *testing.T) {
	bad := destination(1).Port
	o, k := pickyOutbox(t, func(to uint16, _, _ int) unix.Errno {
		if to == bad {
			return unix.EIO
		}
		return 0
	})
	for round := range 3 {
		if got := flushRun(o, k, 1, 100); !slices.EqualFunc(got, pieces, slices.Equal[[]int]) {
			t.Errorf("round %d: to the one that refuses: %v", round, got)
		}
		if got := flushRun(o, k, 2, 100); !slices.EqualFunc(got, whole, slices.Equal[[]int]) {
			t.Errorf("round %d: to another: %v", round, got)
		}
	}
	if got := o.Outcome(); got.OffloadLost != 1 || got.Sent != 18 || k.tries != 1 {
		t.Errorf("outcome %+v after %d refusals, want one of each and 18 sent", got, k.tries)
	}
}

// A destination that refused is tried again, ever more seldom, and gets
// superpackets as soon as it takes one.
func TestSuperpacketsAreTriedAgain(t *testing.T) {
	refusing := true
	o, k := pickyOutbox(t, func(uint16, int, int) unix.Errno {
		if refusing {
			return unix.EIO
		}
		return 0
	})
	flushRun(o, k, 1, 100)
	for hold := firstHold; hold <= 4*firstHold; hold *= 2 {
		before := k.tries
		for range hold {
			flushRun(o, k, 1, 100)
		}
		if k.tries != before {
			t.Fatalf("%d superpackets within a hold of %d runs", k.tries-before, hold)
		}
		if flushRun(o, k, 1, 100); k.tries != before+1 {
			t.Fatalf("no superpacket after a hold of %d runs", hold)
		}
	}
	refusing = false
	for range 8 * firstHold {
		flushRun(o, k, 1, 100)
	}
	for range 2 {
		if got := flushRun(o, k, 1, 100); !slices.EqualFunc(got, whole, slices.Equal[[]int]) {
			t.Errorf("once they pass again: %v", got)
		}
	}
	if got := o.Outcome().OffloadLost; got != 1 || len(o.unsegmented.destinations) != 0 {
		t.Errorf("OffloadLost %d, %d destinations held", got, len(o.unsegmented.destinations))
	}
}

// Where the MTU is what refuses full packets, control packets still leave
// together, and do not have the full ones tried again.
func TestShorterSegmentsPassASmallMTU(t *testing.T) {
	o, k := pickyOutbox(t, func(_ uint16, segment, _ int) unix.Errno {
		if segment > 1400 {
			return unix.EMSGSIZE
		}
		return 0
	})
	for range firstHold / 2 {
		flushRun(o, k, 1, 1456)
		if got := flushRun(o, k, 1, 100); !slices.EqualFunc(got, whole, slices.Equal[[]int]) {
			t.Fatalf("short ones left as %v", got)
		}
	}
	if k.tries != 1 {
		t.Errorf("%d superpackets of full packets tried, want 1", k.tries)
	}
}

// Destinations come from strangers: what is remembered of them is bounded, and
// nothing is lost by forgetting.
func TestUnsegmentedDestinationsAreBounded(t *testing.T) {
	o, k := pickyOutbox(t, func(uint16, int, int) unix.Errno { return unix.EIO })
	for round := range 2 {
		for to := range 2 * unsegmentedMax {
			if got := flushRun(o, k, to, 100); !slices.EqualFunc(got, pieces, slices.Equal[[]int]) {
				t.Fatalf("round %d, destination %d: %v", round, to, got)
			}
		}
	}
	if n := len(o.unsegmented.destinations); n != unsegmentedMax {
		t.Errorf("%d destinations remembered, want %d", n, unsegmentedMax)
	}
	if got := o.Outcome(); got.Sent != 12*unsegmentedMax {
		t.Errorf("outcome %+v", got)
	}
}

// The path allocates nothing while a destination is held.
func TestHeldRunsDoNotAllocate(t *testing.T) {
	o, k := pickyOutbox(t, func(uint16, int, int) unix.Errno { return unix.EIO })
	flushRun(o, k, 1, 100)
	o.send = func(_ int, m []unix.Mmsghdr) (int, unix.Errno) { return len(m), 0 }
	datagram := payload(0, 100)
	if n := testing.AllocsPerRun(firstHold/2, func() {
		for range 3 {
			o.Add(destination(1), addr.IP{}, 0, datagram)
		}
		o.Flush()
	}); n != 0 {
		t.Errorf("%v allocations per flush", n)
	}
}
