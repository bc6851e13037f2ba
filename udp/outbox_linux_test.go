package udp

import (
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// step is one scripted answer of sendmmsg: so many messages sent, or an error.
type step struct {
	sent  int
	errno unix.Errno
}

// kernel plays sendmmsg: it answers by script, then sends all, and records the
// sizes of what it let pass.
type kernel struct {
	script []step
	passed [][]int // per message: sizes of its datagrams
}

func (k *kernel) send(_ int, messages []unix.Mmsghdr) (int, unix.Errno) {
	n := len(messages)
	if len(k.script) > 0 {
		s := k.script[0]
		k.script = k.script[1:]
		if s.errno != 0 {
			return 0, s.errno
		}
		n = min(s.sent, n)
	}
	for i := range messages[:n] {
		k.passed = append(k.passed, sizesInMessage(&messages[i].Hdr))
	}
	return n, 0
}

// sizesInMessage splits a message as the kernel would.
func sizesInMessage(h *unix.Msghdr) (sizes []int) {
	total := 0
	for _, v := range unsafe.Slice(h.Iov, h.Iovlen) {
		total += int(v.Len)
	}
	segment := total
	for rest := unsafe.Slice(h.Control, h.Controllen); ; {
		level, kind, content, next, ok := nextControl(rest)
		if !ok {
			break
		}
		if rest = next; level == unix.SOL_UDP && kind == unix.UDP_SEGMENT {
			segment = int(*(*uint16)(unsafe.Pointer(&content[0])))
		}
	}
	for ; total > segment; total -= segment {
		sizes = append(sizes, segment)
	}
	return append(sizes, total)
}

// The datagrams of every scripted case: a run of three to 1, a single one to 2,
// a run of two to 3. Sizes tell them apart.
var scriptedAdds = []struct{ to, size int }{{1, 100}, {2, 50}, {1, 100}, {3, 80}, {1, 99}, {3, 79}}

func TestOutboxAccounts(t *testing.T) {
	repeat := func(n int, s step) []step { return slices.Repeat([]step{s}, n) }
	all := [][]int{{100, 100, 99}, {50}, {80, 79}}
	tests := []struct {
		name   string
		script []step
		want   Outcome
		passed [][]int
		noted  bool // errors pending
	}{
		{name: "all at once", want: Outcome{Sent: 6, Calls: 1}, passed: all},
		{
			name:   "partial sends resume at the first unsent",
			script: []step{{sent: 1}, {sent: 1}}, want: Outcome{Sent: 6, Calls: 3}, passed: all, noted: true,
		},
		{
			name:   "EAGAIN once is retried",
			script: []step{{errno: unix.EAGAIN}}, want: Outcome{Sent: 6, Calls: 2}, passed: all,
		},
		{
			name:   "EAGAIN twice costs that message only",
			script: repeat(2, step{errno: unix.EAGAIN}),
			want:   Outcome{Sent: 3, Calls: 3, BufferFull: 3}, passed: all[1:],
		},
		{
			name:   "ENOBUFS in the middle",
			script: []step{{sent: 1}, {errno: unix.ENOBUFS}, {errno: unix.ENOBUFS}},
			want:   Outcome{Sent: 5, Calls: 4, BufferFull: 1}, passed: [][]int{{100, 100, 99}, {80, 79}}, noted: true,
		},
		{
			name:   "full to the end",
			script: repeat(6, step{errno: unix.EAGAIN}), want: Outcome{Calls: 6, BufferFull: 6},
		},
		{
			name:   "EMSGSIZE on a superpacket",
			script: []step{{errno: unix.EMSGSIZE}},
			want:   Outcome{Sent: 6, Calls: 3, OffloadLost: 1}, passed: [][]int{{100}, {100}, {99}, {50}, {80, 79}},
		},
		{
			name:   "EINVAL on a superpacket",
			script: []step{{sent: 2}, {errno: unix.EINVAL}},
			want:   Outcome{Sent: 6, Calls: 3, OffloadLost: 1}, passed: [][]int{{100, 100, 99}, {50}, {80}, {79}}, noted: true,
		},
		{
			name:   "EIO of both superpackets, of two destinations",
			script: []step{{errno: unix.EIO}, {sent: 3}, {sent: 1}, {errno: unix.EIO}},
			want:   Outcome{Sent: 6, Calls: 5, OffloadLost: 2},
			passed: [][]int{{100}, {100}, {99}, {50}, {80}, {79}}, noted: true,
		},
		{
			name: "the pieces of a superpacket fail one by one",
			// EMSGSIZE on the whole; the first piece sent, the second too big
			// twice, as the first report may be of another datagram.
			script: []step{{errno: unix.EMSGSIZE}, {sent: 1}, {errno: unix.EMSGSIZE}, {errno: unix.EMSGSIZE}},
			want:   Outcome{Sent: 5, Calls: 6, TooBig: 1, OffloadLost: 1}, passed: [][]int{{100}, {99}, {50}, {80, 79}}, noted: true,
		},
		{
			name:   "EPERM is not retried",
			script: []step{{errno: unix.EPERM}}, want: Outcome{Sent: 3, Calls: 2, Unreachable: 3}, passed: all[1:],
		},
		{
			name:   "EHOSTUNREACH may have been another's",
			script: []step{{errno: unix.EHOSTUNREACH}}, want: Outcome{Sent: 6, Calls: 2}, passed: all, noted: true,
		},
		{
			name:   "ENETUNREACH, confirmed",
			script: repeat(2, step{errno: unix.ENETUNREACH}),
			want:   Outcome{Sent: 3, Calls: 3, Unreachable: 3}, passed: all[1:], noted: true,
		},
		{
			name:   "ECONNREFUSED was another's",
			script: repeat(refusedAttempts, step{errno: unix.ECONNREFUSED}),
			want:   Outcome{Sent: 6, Calls: 1 + refusedAttempts}, passed: all, noted: true,
		},
		{
			name:   "ECONNREFUSED for ever is bounded",
			script: repeat(1+refusedAttempts, step{errno: unix.ECONNREFUSED}),
			want:   Outcome{Sent: 3, Calls: 2 + refusedAttempts, Failed: 3}, passed: all[1:], noted: true,
		},
		{
			name:   "EIO on a single one",
			script: []step{{sent: 1}, {errno: unix.EIO}},
			want:   Outcome{Sent: 5, Calls: 3, Failed: 1}, passed: [][]int{{100, 100, 99}, {80, 79}}, noted: true,
		},
		{
			name:   "no progress and no error",
			script: []step{{sent: 0}}, want: Outcome{Sent: 3, Calls: 2, Failed: 3}, passed: all[1:],
		},
		{
			name:   "closed socket",
			script: repeat(3, step{errno: unix.EBADF}), want: Outcome{Calls: 3, Failed: 6},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := &kernel{script: test.script}
			s := openBack(t, loopbacks["IPv4"], bothOffloads)
			o := NewOutbox(s)
			o.send = k.send
			for i, a := range scriptedAdds {
				o.Add(destination(a.to), addr.IP{}, 0, payload(i, a.size))
			}
			if o.Pending() != len(scriptedAdds) {
				t.Errorf("%d pending", o.Pending())
			}
			o.Flush()
			got := o.Outcome()
			checkAccount(t, got, len(scriptedAdds), k.passed)
			got.SentBytes = 0 // checked against what passed
			if got != test.want {
				t.Errorf("outcome %+v\nwant    %+v", got, test.want)
			}
			if !slices.EqualFunc(k.passed, test.passed, slices.Equal[[]int]) {
				t.Errorf("passed %v, want %v", k.passed, test.passed)
			}
			if !s.offloads.gso || s.ErrorsPending() != test.noted {
				t.Errorf("GSO %v, errors pending %v", s.offloads.gso, s.ErrorsPending())
			}
			if o.Outcome() != (Outcome{}) || o.Pending() != 0 {
				t.Error("outcome and outbox are not empty afterwards")
			}
		})
	}
}

// checkAccount holds the outcome against what was added and what passed.
func checkAccount(t *testing.T, got Outcome, added int, passed [][]int) {
	t.Helper()
	if sum := got.Sent + got.BufferFull + got.TooBig + got.Unreachable + got.Failed; sum != uint64(added) {
		t.Errorf("%d added, %d accounted for", added, sum)
	}
	var datagrams, bytes uint64
	for _, sizes := range passed {
		for _, size := range sizes {
			datagrams, bytes = datagrams+1, bytes+uint64(size)
		}
	}
	if got.Sent != datagrams || got.SentBytes != bytes {
		t.Errorf("sent %d of %d bytes by count, %d of %d in truth", got.Sent, got.SentBytes, datagrams, bytes)
	}
}

// More than a chunk of messages, and more than an outbox of datagrams.
func TestOutboxFlushesWhenFull(t *testing.T) {
	for _, o := range []Options{{}, bothOffloads} {
		k := &kernel{}
		outbox := NewOutbox(openBack(t, loopbacks["IPv4"], o))
		outbox.send = k.send
		const added = 2*entryCapacity + 100
		for i := range added {
			outbox.Add(destination(i%200), addr.IP{}, 0, payload(i, i%3*40))
			if outbox.Pending() > entryCapacity {
				t.Fatalf("%d pending", outbox.Pending())
			}
		}
		outbox.Flush()
		checkAccount(t, outbox.Outcome(), added, k.passed)
	}
}

// A chunk whose last message is empty and behind all vectors.
func TestOutboxFullOfSeparateDatagrams(t *testing.T) {
	k := &kernel{}
	o := NewOutbox(openBack(t, loopbacks["IPv4"], bothOffloads))
	o.send = k.send
	for i := range chunkMessages - 1 {
		for range 16 {
			o.Add(destination(i), addr.IP{}, 0, payload(i, 30))
		}
	}
	for range 16 {
		o.Add(destination(500), addr.IP{}, 0, nil)
	}
	o.Flush()
	checkAccount(t, o.Outcome(), 16*chunkMessages, k.passed)
}

func TestTrainNeedsOneVector(t *testing.T) {
	s := openBack(t, loopbacks["IPv4"], bothOffloads)
	o := NewOutbox(s)
	var vectors []int
	o.send = func(_ int, messages []unix.Mmsghdr) (int, unix.Errno) {
		for i := range messages {
			vectors = append(vectors, int(messages[i].Hdr.Iovlen))
		}
		return len(messages), 0
	}
	train := make([]byte, 1000)
	for i := range 10 { // contiguous
		o.Add(destination(1), addr.IP{}, 0, train[i*100:(i+1)*100])
	}
	for i := range 5 { // every second one
		o.Add(destination(2), addr.IP{}, 0, train[i*200:i*200+100])
	}
	o.Flush()
	if !slices.Equal(vectors, []int{1, 5}) {
		t.Errorf("vectors per message: %v, want 1 and 5", vectors)
	}
}

func TestIPv6ThroughAnIPv4Socket(t *testing.T) {
	o := NewOutbox(openBack(t, loopbacks["IPv4"], bothOffloads))
	o.Add(addr.From(netip.MustParseAddrPort("[::1]:9")), addr.IP{}, 0, []byte("x"))
	o.Flush()
	if got := o.Outcome(); got != (Outcome{Unreachable: 1}) {
		t.Errorf("outcome %+v", got)
	}
}

// What the real kernel answers to a datagram no IP packet can carry, and to one
// for a family the socket does not speak.
func TestRealRefusalsOfTheKernel(t *testing.T) {
	o := NewOutbox(openBack(t, netip.IPv6Unspecified(), bothOffloads))
	to := addr.From(portOf(openPeer(t, loopbacks["IPv6"])))
	o.Add(to, addr.IP{}, 0, make([]byte, 65600))
	o.Add(to, addr.IP{}, 0, []byte("fits"))
	o.Add(destination(1), addr.IP{}, 0, []byte("IPv4"))
	o.Flush()
	got := o.Outcome()
	got.Calls = 0
	if want := (Outcome{Sent: 1, SentBytes: 4, TooBig: 1, Unreachable: 1}); got != want {
		t.Errorf("outcome %+v, want %+v", got, want)
	}
}
