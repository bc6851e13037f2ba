package kernelpath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"srtrelay/internal/srttest"
	"srtrelay/shard/shield"
	"srtrelay/wire"
)

// world is what a verdict depends on beside the frame.
type world struct {
	mode              Mode
	paused            bool
	egress, redirects bool // at lo's egress; redirected there
	complete          bool // the skb bears a COMPLETE checksum
	shield            bool
	unobserved        bool // no telemetry: how far the data packets have come is not known
	gsoSize           uint16
}

// worldOf makes a world of two numbers of the fuzzer.
func worldOf(state byte, gsoSize uint16) world {
	return world{
		mode: Mode(state & 3 % 3), paused: state&4 != 0, egress: state&8 != 0, redirects: state&0x30 == 0x30,
		unobserved: state&0x30 == 0x10, complete: state&0x40 != 0, shield: state&0x80 != 0, gsoSize: gsoSize,
	}
}

// verdict is what becomes of a frame. Either it passes on an entry, or it goes up.
type verdict struct {
	entry  *entry
	reason int // -1 if it passes, or is of no session
	count  int // datagrams
}

// entry is one way of a session in the model.
type entry struct {
	from, to netip.AddrPort
	id       uint32
	out      [2]netip.AddrPort
	hop      hop
	place    uint32
	way      int
	local    bool // the sender is of this host
}

// nextOfWays is the sequence number that all ways of a model expect.
const nextOfWays = 1

// model says what the program is to do with frames.
type model []*entry

// newModel enters two sessions in each family between the same ends.
func newModel(r *rig) (m model) {
	for k, e := range []Session{session4(), session4(), session6(), session6()} {
		near := r.toDevice("198.51.100.2", 1000)
		if k >= 2 {
			near = r.toDevice("2001:db8::9", 1000)
		}
		if k%2 == 1 {
			near.mtu, near.flags = 1500, virtualDevice
		}
		e.Place, e.BackendID, e.CallerID = uint32(k), backendID+uint32(k%2), callerID+uint32(k%2)
		r.enter(e, near, toLoopback())
		m = append(
			m,
			&entry{e.Caller.Netip(), e.Front.Netip(), e.BackendID, [2]netip.AddrPort{e.Upstream.Netip(), e.Backend.Netip()}, near, e.Place, 0, true},
			&entry{e.Backend.Netip(), e.Upstream.Netip(), e.CallerID, [2]netip.AddrPort{e.Front.Netip(), e.Caller.Netip()}, toLoopback(), e.Place, 1, false},
		)
	}
	return m
}

// datagram is what a frame holds.
type datagram struct {
	from, to netip.AddrPort
	at       int // of the payload in the frame
	payload  []byte
}

// parse reads a frame that is a whole UDP datagram without anything unusual.
func parse(frame []byte) (d datagram, ok bool) {
	if len(frame) < ipAt+20 {
		return d, false
	}
	ip, at, length := frame[ipAt:], udp4At, 0
	word := func(b []byte, at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
	switch kind := word(frame, 12); {
	case kind == 0x0800 && ip[0] == 0x45 && ip[9] == 17 && word(ip, 6)&0x3fff == 0:
		length = word(ip, 2) - 20
	case kind == 0x86dd && len(frame) >= udp6At && ip[0]>>4 == 6 && ip[6] == 17:
		at, length = udp6At, word(ip, 4)
	default:
		return d, false
	}
	if len(frame) < at+8 || length < 8 || word(frame, at+4) != length || len(frame) < at+length {
		return d, false
	}
	addresses := frame[ipAt+12 : ipAt+20]
	if at == udp6At {
		addresses = frame[ipAt+8 : ipAt+40]
	}
	half := len(addresses) / 2
	from, _ := netip.AddrFromSlice(addresses[:half])
	to, _ := netip.AddrFromSlice(addresses[half:])
	d.from = netip.AddrPortFrom(from, uint16(word(frame, at)))
	d.to = netip.AddrPortFrom(to, uint16(word(frame, at+2)))
	d.at, d.payload = at+8, frame[at+8:at+length]
	return d, true
}

func (m model) find(d datagram, id uint32, egress bool) *entry {
	for _, e := range m {
		if id != 0 && e.id == id && e.from == d.from && e.to == d.to && e.local == egress {
			return e
		}
	}
	return nil
}

// passes reports whether user space need not see a datagram by its type.
func passes(p wire.Packet) bool {
	switch p.Control() {
	case wire.TypeKeepalive, wire.TypeACK, wire.TypeNAK, wire.TypeACKACK, wire.TypeDropReq, wire.TypeUser:
		return true
	}
	return !p.IsControl()
}

// verdict is the program in Go.
func (m model) verdict(frame []byte, w world) verdict {
	foreign := verdict{reason: -1}
	d, ok := parse(frame)
	if !ok || w.egress && w.redirects {
		return foreign
	}
	size := len(d.payload)
	if w.gsoSize != 0 {
		size = min(size, int(w.gsoSize))
	}
	if size < wire.HeaderSize || len(d.payload) < wire.HeaderSize {
		return foreign
	}
	id := wire.Packet(d.payload).DestID()
	mixed, types, sound, n, ours := false, true, true, 0, 0
	for rest := d.payload; len(rest) > 0; n++ {
		p := wire.Packet(rest[:min(size, len(rest))])
		rest = rest[len(p):]
		if len(p) < wire.HeaderSize || p.DestID() != id {
			mixed = true
		}
		if len(p) >= wire.HeaderSize {
			types = types && passes(p)
			sound = sound && (!p.IsControl() || shield.Check(p, shield.Progress{Next: nextOfWays, Known: !w.unobserved}) == shield.VerdictPass)
			if m.find(d, p.DestID(), w.egress) != nil {
				ours++
			}
		}
	}
	e := m.find(d, id, w.egress)
	switch {
	case e == nil && n > 1 && ours > 0:
		return verdict{nil, int(pathReasonUP_MIXED), ours}
	case e == nil:
		return foreign
	}
	up := func(why pathReason) verdict { return verdict{e, int(why), n} }
	switch {
	case mixed:
		return up(pathReasonUP_MIXED)
	case w.mode == Off:
		return up(pathReasonUP_OFF)
	case w.mode == Pending:
		return up(pathReasonUP_PENDING)
	case w.paused:
		return up(pathReasonUP_PAUSED)
	case size+d.at-ipAt > int(e.hop.mtu):
		return up(pathReasonUP_LENGTH)
	case w.complete && e.hop.flags&virtualDevice != 0:
		return up(pathReasonUP_CHECKSUM)
	case !types:
		return up(pathReasonUP_TYPE)
	case w.shield && !sound:
		return up(pathReasonUP_SHIELD)
	}
	return verdict{e, -1, n}
}

// sum adds up 16-bit words, modulo 65535.
func sum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s % 0xffff
}

// covered is the sum that a UDP checksum makes zero, modulo 65535.
func covered(frame []byte, d datagram) uint32 {
	addresses := frame[ipAt+12 : ipAt+20]
	if d.at > udp4At+8 {
		addresses = frame[ipAt+8 : ipAt+40]
	}
	return (sum(addresses) + sum(frame[d.at-8:d.at+len(d.payload)])) % 0xffff
}

// checkOutput compares what the program has made of a frame with what it is to be.
func (v verdict) checkOutput(frame, out []byte) error {
	if v.entry == nil || v.reason >= 0 {
		if !bytes.Equal(frame, out) {
			return fmt.Errorf("what goes up has changed to %x", out)
		}
		return nil
	}
	was, _ := parse(frame)
	now, ok := parse(out)
	if !ok || now.from != v.entry.out[0] || now.to != v.entry.out[1] {
		return fmt.Errorf("sent on from %s to %s, want %s", now.from, now.to, v.entry.out)
	}
	if !bytes.Equal(frame[was.at:], out[now.at:]) {
		return fmt.Errorf("the payload has changed to %x", out[now.at:])
	}
	old, fresh := binary.BigEndian.Uint16(frame[was.at-2:]), binary.BigEndian.Uint16(out[now.at-2:])
	if (old == 0) != (fresh == 0) || old != 0 && covered(frame, was) != covered(out, now) {
		return fmt.Errorf("UDP checksum %#x, was %#x", fresh, old)
	}
	if now.at == udp4At+8 {
		if ip := out[ipAt:udp4At]; ip[8] != 64 || ip[6]|ip[7] != 0 || sum(ip) != 0 {
			return fmt.Errorf("IP header %x, was %x", ip, frame[ipAt:udp4At])
		}
	} else if out[ipAt+7] != 64 {
		return fmt.Errorf("hop limit %d", out[ipAt+7])
	}
	return nil
}

// judge compares the program with the model on one frame.
func judge(t *testing.T, r *rig, m model, frame []byte, w world) {
	t.Helper()
	r.t = t
	for _, e := range m {
		way := r.shard.Way(e.place, e.way)
		way.SetPending()
		way.SetSequence(sequence(nextOfWays), !w.unobserved)
		if w.mode != Pending {
			way.shared.Mode = uint32(w.mode)
		}
	}
	want := m.verdict(frame, w)
	ctx := skb{GSOSize: uint32(w.gsoSize)}
	if w.redirects {
		ctx.IngressIfindex = r.device
	}
	if w.egress {
		ctx.Ifindex = loopback
	}
	r.SetShield(w.shield)
	flags := uint32(0)
	if w.complete {
		flags = checksumComplete
	}
	if w.paused {
		r.pause()
		defer r.resume()
	}
	up, passed := r.upAtOnce(t), m.passed(r)
	action, out := r.run(frame, ctx, flags)
	wanted := int32(next)
	if want.reason < 0 && want.entry != nil {
		passed[*want.entry] += uint32(want.count)
		if !w.egress || want.entry.hop.action == pathActionTO_DEVICE {
			wanted = redirect
		}
	} else if want.reason >= 0 {
		up[want.reason] += uint64(want.count)
	}
	if action != wanted {
		t.Errorf("the program returns %d, want %d (%+v)", action, wanted, want)
	}
	if err := want.checkOutput(frame, out); err != nil {
		t.Error(err)
	}
	for k, n := range r.upAtOnce(t) {
		if n != up[k] {
			t.Errorf("%d more than expected went up for %q (%+v)", n-up[k], reasonNames[k], want)
		}
	}
	for e, n := range m.passed(r) {
		if n != passed[e] {
			t.Errorf("%d more than expected passed on %+v (%+v)", n-passed[e], e, want)
		}
	}
}

// upAtOnce returns what up does by one system call, where Devices makes two per counter.
func (r *rig) upAtOnce(t *testing.T) []uint64 {
	t.Helper()
	const most = 64 // two devices, with a counter per reason at most
	keys, counts := make([]uint32, most), make([]uint64, most*ebpf.MustPossibleCPU())
	n, err := r.objects.Reasons.BatchLookup(new(ebpf.MapBatchCursor), keys, counts, nil)
	if !errors.Is(err, ebpf.ErrKeyNotExist) { // which says that there are no more
		t.Fatalf("%d counters, %v", n, err)
	}
	sum := make([]uint64, len(reasonNames))
	for k, key := range keys[:n] {
		for _, count := range counts[k*len(counts)/most : (k+1)*len(counts)/most] {
			sum[key&0xff] += count
		}
	}
	return sum
}

func (m model) passed(r *rig) map[entry]uint32 {
	all := make(map[entry]uint32, len(m))
	for _, e := range m {
		all[*e] = r.shard.Way(e.place, e.way).Passed().Packets
	}
	return all
}

// usable reports whether BPF_PROG_TEST_RUN can show what becomes of a frame.
func usable(frame []byte, w *world) bool {
	short := udp4At
	if len(frame) > ipAt && binary.BigEndian.Uint16(frame[12:]) == 0x86dd {
		short = udp6At
	}
	if len(frame) < short || len(frame) > 3000 {
		return false
	}
	// It checks the whole sum, which the program keeps if the header's sum is right and
	// there is a UDP checksum.
	if d, ok := parse(frame); ok && w.complete {
		w.complete = binary.BigEndian.Uint16(frame[d.at-2:]) != 0 && (d.at > udp4At+8 || sum(frame[ipAt:udp4At]) == 0)
	}
	return true
}

// verdictCases are the frames of the program's cases, by name, and others of this world.
func verdictCases(r *rig) map[string]programCase {
	all := map[string]programCase{}
	for _, cases := range [][]programCase{passingCases(r), sessionCases(r), malformedCases(), trainCases(r)} {
		for _, c := range cases {
			all[c.name] = c
		}
	}
	all["of the other session"] = programCase{payload: dataOf(1, plain, backendID+1, 100)}
	for _, c := range append(srttest.MalformedControls(nextOfWays), srttest.SoundControls(nextOfWays)...) {
		p := c.To(backendID)
		all[c.Name] = programCase{payload: p, shielded: true}
		if len(p) <= 200 {
			head := dataOf(1, plain, backendID, len(p)-wire.HeaderSize)
			all["train with "+c.Name] = programCase{payload: train(head, p), ctx: segments(len(p)), shielded: true}
		}
	}
	all["long"] = programCase{payload: dataOf(1, plain, backendID, 1316)}
	return all
}

// frames returns the frames of a case in both families, and on both ways.
func (c programCase) frames() (all [][]byte) {
	for k, e := range []Session{session4(), session6()} {
		if only := []int{4, 6}[k]; c.only != 0 && c.only != only {
			continue
		}
		all = append(all, c.frame(e.Caller, e.Front, c.payload))
		if len(c.payload) >= wire.HeaderSize {
			back := wire.Packet(bytes.Clone(c.payload))
			back.SetDestID(callerID)
			all = append(all, c.frame(e.Backend, e.Upstream, back))
		}
	}
	return all
}

func TestVerdict(t *testing.T) {
	r := newRig(t)
	m := newModel(r)
	for name, c := range verdictCases(r) {
		t.Run(name, func(t *testing.T) {
			for _, frame := range c.frames() {
				for k := range 256 {
					state := byte(k)
					if state&3 == 3 || state&0x30 == 0x20 {
						continue // like another one
					}
					if (c.shielded || state&0x80 != 0 || state&0x30 == 0x10) && state&^0x98 != byte(On) {
						continue // what else goes up goes up with a shield too
					}
					w := worldOf(state, uint16(c.ctx.GSOSize))
					if usable(frame, &w) {
						judge(t, r, m, frame, w)
					}
				}
			}
		})
	}
}

// The program and its model agree on whatever arrives. Fuzzing begins with the frames of
// TestVerdict; without it they would be judged twice.
func FuzzVerdict(f *testing.F) {
	r := newRig(f)
	m := newModel(r)
	if flag.Lookup("test.fuzz").Value.String() != "" {
		seedVerdicts(f, r)
	}
	f.Fuzz(func(t *testing.T, frame []byte, state byte, gsoSize uint16) {
		w := worldOf(state, gsoSize)
		if usable(frame, &w) {
			judge(t, r, m, frame, w)
		}
	})
}

func seedVerdicts(f *testing.F, r *rig) {
	for _, c := range verdictCases(r) {
		for _, frame := range c.frames() {
			for _, egress := range []byte{0, 8} {
				for _, shield := range []byte{0, 0x80, 0x90} {
					f.Add(frame, byte(On)|egress|shield, uint16(c.ctx.GSOSize))
				}
			}
		}
	}
}
