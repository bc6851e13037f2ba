package kernelpath

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"srtrelay/addr"
	"srtrelay/wire"
)

// programCase is a frame from the caller of a session whose ways are on, and what becomes
// of it. It holds in both address families unless only says 4 or 6.
type programCase struct {
	shielded bool // it is about the shield: the verdict depends on little else
	name     string
	only     int
	payload  []byte
	layers   func(*layers.IPv4, *layers.IPv6, *layers.UDP)
	mangle   func(frame []byte) []byte
	ctx      skb
	flags    uint32
	hop      *hop                     // towards the backend; nil is the loopback
	local    bool                     // the caller is of this host
	set      func(r *rig, e *Session) // before the datagram
	after    func(r *rig, e *Session) // after it
	action   int32
	reason   string // why it goes up; "" if it is of no session, or passes
	packets  uint32 // datagrams that pass
	next     uint32 // the sequence number expected then; 0 as before
	records  int    // what user space is shown
}

// Offsets in a frame.
const (
	ipAt   = 14
	udp4At = ipAt + 20
	udp6At = ipAt + 40
)

func udpAt(frame []byte) int {
	if frame[ipAt]>>4 == 6 {
		return udp6At
	}
	return udp4At
}

func id0(p wire.Packet) wire.Packet {
	p.SetDestID(0)
	return p
}

// train returns the payload of datagrams that the kernel has made one packet of.
func train(ps ...wire.Packet) (all []byte) {
	for _, p := range ps {
		all = append(all, p...)
	}
	return all
}

func segments(size int) skb { return skb{GSOSize: uint32(size)} }

// checksumComplete has the skb bear a COMPLETE checksum (BPF_F_TEST_SKB_CHECKSUM_COMPLETE).
const checksumComplete = 1 << 2

var plainData = dataOf(1, plain, backendID, 100)

func control(t wire.ControlType, words ...uint32) wire.Packet {
	return controlOf(t, 0, 7, backendID, words...)
}

func TestProgram(t *testing.T) {
	r := newRig(t)
	for _, all := range [][]programCase{passingCases(r), sessionCases(r), malformedCases(), trainCases(r)} {
		for _, c := range all {
			for family, session := range map[int]func() Session{4: session4, 6: session6} {
				if c.only == 0 || c.only == family {
					t.Run(c.name, func(t *testing.T) { c.run(t, r, session()) })
				}
			}
		}
	}
}

func (c *programCase) run(t *testing.T, r *rig, e Session) {
	r.t = t
	h := toLoopback()
	if c.hop != nil {
		h = *c.hop
	}
	toCaller := r.near()
	if c.local {
		toCaller = toLoopback()
	}
	e = r.enter(e, h, toCaller)
	if c.set != nil {
		c.set(r, &e)
	}
	frame := c.frame(e.Caller, e.Front, c.payload)
	before := r.up(t)
	action, out := r.run(frame, c.ctx, c.flags)
	if action != c.action {
		t.Errorf("the program returns %d, want %d", action, c.action)
	}
	if c.packets == 0 && !bytes.Equal(out, frame) {
		t.Errorf("what goes up is %x, was %x", out, frame)
	}
	if c.packets > 0 {
		wantRewritten(t, frame, out, e.Upstream, e.Backend)
		wantLink(t, frame, out, c.action == redirect && h.action == pathActionTO_LOOPBACK)
	}
	for k, n := range r.up(t) {
		want := uint64(0)
		if c.reason != "" && reasonNames[k] == c.reason {
			want = max(1, c.segments())
		}
		if n-before[k] != want {
			t.Errorf("%d datagrams went up for %q, want %d", n-before[k], reasonNames[k], want)
		}
	}
	c.checkWay(t, r, &e)
	if c.after != nil {
		c.after(r, &e)
	}
}

// frame returns the frame with a payload.
func (c *programCase) frame(from, to addr.AddrPort, payload []byte) []byte {
	frame := frameOf(from, to, payload, func(ip4 *layers.IPv4, ip6 *layers.IPv6, udp *layers.UDP) {
		if c.layers != nil {
			c.layers(ip4, ip6, udp)
		}
	})
	if c.mangle != nil {
		frame = c.mangle(frame)
	}
	return frame
}

// segments returns how many datagrams the frame is made of.
func (c *programCase) segments() uint64 {
	size := int(c.ctx.GSOSize)
	if size == 0 || size >= len(c.payload) {
		return 1
	}
	return uint64((len(c.payload) + size - 1) / size)
}

// checkWay checks what the program has counted.
func (c *programCase) checkWay(t *testing.T, r *rig, e *Session) {
	t.Helper()
	p, bytes := r.shard.Way(e.Place, 0).Passed(), uint64(0)
	if c.packets > 0 {
		bytes = uint64(len(c.payload))
	}
	if p.Packets != c.packets || p.Bytes != bytes || p.Lost != 0 || (r.shard.Way(e.Place, 0).Last() != 0) != (c.packets > 0) {
		t.Errorf("passed %+v, want %d datagrams of %d bytes", p, c.packets, bytes)
	}
	want := uint32(1)
	if c.next != 0 {
		want = c.next
	}
	if next, _, _, _ := r.shard.Way(e.Place, 0).Data(); next != want {
		t.Errorf("the next sequence number is %d, want %d", next, want)
	}
	if n := r.shard.Read(math.MaxInt, func(*Record) {}); n != c.records {
		t.Errorf("%d records, want %d", n, c.records)
	}
}

// up returns why datagrams have gone up, at all devices.
func (r *rig) up(t testing.TB) []uint64 {
	t.Helper()
	devices, err := r.Devices()
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]uint64, len(reasonNames))
	for _, d := range devices {
		for k, n := range d.Up {
			sum[k] += n
		}
	}
	return sum
}

// wantLink checks the link header: one whose sum is zero if the datagram is redirected to
// lo, otherwise as it was.
func wantLink(t *testing.T, in, out []byte, zero bool) {
	t.Helper()
	if !zero {
		if !bytes.Equal(out[:ipAt], in[:ipAt]) {
			t.Errorf("link header %x, was %x", out[:ipAt], in[:ipAt])
		}
		return
	}
	sum := uint32(0)
	for i := 0; i < ipAt; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(out[i:]))
	}
	if sum != 0xffff || !bytes.Equal(out[:6], make([]byte, 6)) {
		t.Errorf("link header %x has sum %#x", out[:ipAt], sum)
	}
}
