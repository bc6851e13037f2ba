package telemetry

import (
	"container/heap"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"srtrelay/wire"
)

// path is a sender, a relay and a receiver on a simulated clock: the sender
// repeats what the receiver's NAKs name, as libsrt does, and the networks on
// both sides lose, repeat and reorder. It knows the truth that the meter has
// to find by looking on from the middle.
type path struct {
	*rig
	random        *rand.Rand
	before, after network
	queue         happenings
	order         int
	got           map[uint32]bool
	repeated      map[uint32]time.Duration
	// The truth.
	lostBefore, lostBehind, retransmitted, passed uint64
	// impatient receivers ask again every 20 ms, whatever is on its way.
	impatient bool
	forwarded map[uint32]bool
}

// network is one side's quality.
type network struct {
	delay                    time.Duration
	loss, duplicate, reorder float64
}

type happening struct {
	at    time.Duration
	order int
	do    func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (p *path) in(d time.Duration, do func()) {
	p.order++
	heap.Push(&p.queue, happening{p.now + d, p.order, do})
}

// cross takes a packet over a network; false if it is lost there.
func (p *path) cross(n network, arrive func()) bool {
	if p.random.Float64() < n.loss {
		return false
	}
	delay := n.delay
	if p.random.Float64() < n.reorder {
		delay += 3 * time.Millisecond
	}
	p.in(delay, arrive)
	if p.random.Float64() < n.duplicate {
		p.in(delay+time.Millisecond, arrive)
	}
	return true
}

// send is the sender's: an original or a retransmission.
func (p *path) send(seq uint32, again bool) {
	word := uint32(plain)
	if again {
		word = rexmit
	}
	first := true
	ok := p.cross(p.before, func() {
		p.relay(seq, word, first)
		first = false
	})
	if !ok && !again {
		p.lostBefore++
	}
}

// relay forwards; first tells a packet from its network copies, of which it
// takes the loss of all to be one.
func (p *path) relay(seq, word uint32, first bool) {
	p.passed++
	if word == rexmit {
		p.retransmitted++
	}
	copied := p.before.duplicate > 0
	if copied && first && word == rexmit && p.forwarded[seq] && !p.got[seq] {
		p.lostBehind++
	}
	p.forwarded[seq] = true
	p.see(ToBackend, packetOf(seq, word))
	if !p.cross(p.after, func() { p.got[seq] = true }) && !copied {
		p.lostBehind++
	}
}

// ask is the receiver's periodic NAK: what is missing and older than the
// reordering of both networks is sent again, unless that is under way.
func (p *path) ask(upTo uint32, rtt time.Duration) {
	for seq := upTo - min(upTo, 3000); seq < upTo; seq++ {
		if p.got[seq] || !p.impatient && p.now-p.repeated[seq] < rtt+10*time.Millisecond && p.repeated[seq] != 0 {
			continue
		}
		p.repeated[seq] = p.now
		p.in(rtt/2, func() { p.send(seq, true) })
	}
}

// run sends n packets, one each millisecond, and lets all be repaired.
func (p *path) run(n uint32) {
	rtt := 2 * (p.before.delay + p.after.delay)
	p.see(ToCaller, controlOf(wire.TypeACK, 0, 1, 0, uint32(rtt.Microseconds()), 1000, 8000, 1000, 1000))
	settled := uint32(rtt/2/time.Millisecond) + 10
	for seq := range n + 3000 {
		p.in(time.Duration(seq)*time.Millisecond, func() {
			if seq < n {
				p.send(seq, false)
			}
			if seq%20 == 0 && seq > settled {
				p.ask(min(seq-settled, n), rtt)
			}
		})
	}
	for len(p.queue) > 0 {
		h := heap.Pop(&p.queue).(happening)
		p.now = h.at
		h.do()
	}
}

// about reports whether got is want within a share of it, and a little more.
func about(got, want uint64, share float64) bool {
	off := float64(max(got, want) - min(got, want))
	return off <= share*float64(want)+5
}

// The meter finds which side loses, and how much, from the middle.
func TestSidesAreToldApart(t *testing.T) {
	const n = 10_000
	lossy := network{delay: 10 * time.Millisecond, loss: 0.05}
	clean := network{delay: 10 * time.Millisecond}
	far := network{delay: 60 * time.Millisecond}
	for name, c := range map[string]struct{ before, after network }{
		"clean":                    {clean, clean},
		"before":                   {lossy, clean},
		"behind":                   {clean, lossy},
		"both":                     {lossy, lossy},
		"before, far behind":       {lossy, far},
		"far before, behind":       {far, lossy},
		"a fifth lost before":      {network{delay: 10 * time.Millisecond, loss: 0.2}, clean},
		"a fifth lost behind":      {clean, network{delay: 10 * time.Millisecond, loss: 0.2}},
		"copies before":            {network{delay: 10 * time.Millisecond, duplicate: 0.1}, clean},
		"copies behind":            {clean, network{delay: 10 * time.Millisecond, duplicate: 0.1}},
		"reordered before":         {network{delay: 10 * time.Millisecond, reorder: 0.05}, clean},
		"asked again, all arrives": {lossy, clean},
		"asked again, far behind":  {lossy, far},
		"asked again, far before":  {network{delay: 60 * time.Millisecond, loss: 0.05}, clean},
		"all at once before":       {network{delay: 10 * time.Millisecond, loss: 0.05, duplicate: 0.05, reorder: 0.05}, clean},
		"all at once, and both":    {network{delay: 10 * time.Millisecond, loss: 0.05, duplicate: 0.05, reorder: 0.05}, lossy},
	} {
		t.Run(name, func(t *testing.T) {
			p := &path{
				rig: newRig(0), random: rand.New(rand.NewPCG(1, 2)), before: c.before, after: c.after,
				impatient: strings.HasPrefix(name, "asked again"),
				got:       map[uint32]bool{}, forwarded: map[uint32]bool{}, repeated: map[uint32]time.Duration{},
			}
			p.run(n)
			q := p.counts()
			if q.Packets != p.passed || q.Retransmitted != p.retransmitted {
				t.Errorf("%d packets, %d again; %d and %d passed", q.Packets, q.Retransmitted, p.passed, p.retransmitted)
			}
			if !about(q.LostBefore, p.lostBefore, 0.02) {
				t.Errorf("%d lost before, really %d", q.LostBefore, p.lostBefore)
			}
			share := 0.02
			if c.before.reorder > 0 && c.after.loss > 0 {
				// A packet that was late before and is lost behind looks as if
				// it were asked for again because it was late.
				share = 0.05
			}
			if !about(q.LostBehind, p.lostBehind, share) {
				t.Errorf("%d lost behind, really %d", q.LostBehind, p.lostBehind)
			}
			if c.before.duplicate == 0 && q.Duplicated > 0 || c.before.reorder == 0 && q.Reordered > 0 {
				t.Errorf("%d copies, %d out of order where there is none", q.Duplicated, q.Reordered)
			}
		})
	}
}
