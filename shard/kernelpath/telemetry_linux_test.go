package kernelpath

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// twins are two meters of one session. One sees every datagram; the other is told what the
// program has taken down, as the shard does it.
type twins struct {
	t     *testing.T
	r     *rig
	e     Session
	terms telemetry.Terms

	direct, told meter
	exceptions   [2]uint32
	taken        [2]uint64
	lastData     [2]time.Duration
	// waiting are datagrams of which a record may still wait.
	waiting []sent
	now     time.Duration
	stamp   uint32
	next    [2]uint32 // of the sender
	key     uint32
}

type meter struct {
	slab telemetry.Slab
	m    telemetry.Meter
}

type sent struct {
	way telemetry.Way
	at  time.Duration
	p   wire.Packet
}

const firstSeq = 1000

func newTwins(t *testing.T, r *rig) *twins {
	r.t = t
	w := &twins{t: t, r: r, e: r.enter(session4(), toLoopback(), r.near()), now: time.Second}
	w.next = [2]uint32{firstSeq, firstSeq}
	w.terms.Learn(telemetry.ToBackend, features(wire.SubtypeHSReq, wire.FlagRexmit))
	w.terms.Learn(telemetry.ToCaller, features(wire.SubtypeHSRsp, wire.FlagRexmit))
	w.direct.m, w.told.m = telemetry.Begin(firstSeq, &w.terms), telemetry.Begin(firstSeq, &w.terms)
	w.handOver()
	return w
}

// features is a control packet that announces features.
func features(subtype uint16, flags uint32) wire.Packet {
	return controlOf(wire.TypeUser, subtype, 0, backendID, 0x010500, flags, 120<<16|120)
}

// handOver tells the program how far the meter is.
func (w *twins) handOver() {
	for way := range telemetry.Way(2) {
		to := w.r.shard.Way(w.e.Place, int(way))
		to.SetPending()
		to.SetSequence(w.told.slab.Sequence(&w.told.m, way), true)
		to.setOn()
	}
}

// send passes a datagram.
func (w *twins) send(way telemetry.Way, p wire.Packet) {
	w.t.Helper()
	w.now += time.Millisecond
	w.stamp++
	p.SetTimestamp(w.stamp) // tells it from all others
	from, to, id, ctx := w.e.Caller, w.e.Front, uint32(backendID), skb{}
	if way == telemetry.ToCaller {
		from, to, id, ctx = w.e.Backend, w.e.Upstream, callerID, skb{Ifindex: loopback}
	}
	p.SetDestID(id)
	if action, _ := w.r.run(frameOf(from, to, p), ctx, 0); action != redirect {
		w.t.Fatalf("%x does not pass: %d", p, action)
	}
	if !p.IsControl() {
		w.lastData[way] = w.now
	}
	w.waiting = append(w.waiting, sent{way, w.now, p})
	if w.direct.slab.Observe(&w.direct.m, way, w.now, p) {
		w.flush()
		if w.terms.Learn(way, p) {
			w.direct.slab.Settle(&w.direct.m, &w.terms)
			w.told.slab.Settle(&w.told.m, &w.terms)
			w.handOver()
		}
	}
}

// flush has the second meter catch up.
func (w *twins) flush() {
	w.r.shard.Read(math.MaxInt, w.onRecord)
	for way := range telemetry.Way(2) {
		w.takeData(way)
	}
	w.waiting = w.waiting[:0]
}

// onRecord does what the shard does with a record, at the time when the first meter has
// seen the datagram.
func (w *twins) onRecord(r *Record) {
	i := slices.IndexFunc(w.waiting, func(s sent) bool {
		return int(s.way) == r.Way && bytes.HasPrefix(s.p, r.Head) && len(s.p) == r.Length
	})
	if i < 0 || r.Gen != w.e.Gen || r.Place != w.e.Place {
		w.t.Fatalf("a record of nothing: %+v", r)
	}
	at := w.waiting[i].at
	w.waiting = w.waiting[i+1:]
	way := telemetry.Way(r.Way)
	if !r.Head.IsControl() {
		w.exceptions[way]++
	}
	w.told.slab.ObserveHead(&w.told.m, way, at, r.Head, r.Length, r.Next)
}

// takeData is Shard.takeData of package shard.
func (w *twins) takeData(way telemetry.Way) {
	next, sum, _, exceptions := w.r.shard.Way(w.e.Place, int(way)).Data()
	if exceptions != w.exceptions[way] {
		w.t.Fatalf("%d exceptions, %d records of them", exceptions, w.exceptions[way])
	}
	w.told.slab.InOrder(&w.told.m, way, next, sum-w.taken[way], w.lastData[way])
	w.taken[way] = sum
}

// compare checks that both meters say the same, and that the program agrees.
func (w *twins) compare() {
	w.t.Helper()
	w.flush()
	direct, told := w.direct.slab.Report(&w.direct.m), w.told.slab.Report(&w.told.m)
	for way := range telemetry.Way(2) {
		if direct[way] != told[way] {
			w.t.Errorf("way %d\nseen %+v\ntold %+v", way, direct[way], told[way])
		}
		q := w.direct.slab.Sequence(&w.direct.m, way)
		if got := w.told.slab.Sequence(&w.told.m, way); got != q {
			w.t.Errorf("way %d: told %+v, seen %+v", way, got, q)
		}
		shared := w.r.shard.Way(w.e.Place, int(way)).shared
		if shared.Next != q.Next || shared.Expect != q.Expect || shared.Strays != q.Strays {
			w.t.Errorf("way %d: the program has %d, %#x, %d strays; seen %+v", way, shared.Next, shared.Expect, shared.Strays, q)
		}
	}
}

// data sends a data packet at a distance from the next one.
func (w *twins) data(way telemetry.Way, ahead int, word uint32, payload int) {
	w.t.Helper()
	seq := (w.next[way] + uint32(ahead)) & wire.SequenceMask
	w.send(way, dataOf(seq, word|w.key<<wire.KeyShift, 0, payload))
	if ahead >= 0 {
		w.next[way] = (seq + 1) & wire.SequenceMask
	}
}

// A script of twins is three bytes per step: what to do, on which way, and how much.
const (
	doData        byte = iota // datagrams in order
	doLose                    // leave out
	doLate                    // a packet from so far behind
	doRetransmit              // the same with the R bit
	doAhead                   // with the R bit, ahead
	doKey                     // another key
	doFilter                  // FEC
	doStray                   // from behind the window, twice so often
	doFarBehind               // one from 4000 + so far behind
	doJump                    // 100 times so far ahead
	doWrap                    // to the end of the sequence numbers
	doACK                     // full, with an RTT in ms
	doLiteACK                 //
	doACKACK                  //
	doNAK                     // of so many ranges
	doDrop                    //
	doKeepalive               //
	doFeatures                // HSv4: the R bit is or is not in use
	doKeyMaterial             //
	doWord                    // any message word
	doFlush                   //
	doWait                    // so many ms
	doEmpty                   // without payload
	steps
)

// step runs one step of a script.
func (w *twins) step(do, arg byte, way telemetry.Way) {
	w.t.Helper()
	n := int(arg)
	switch do {
	case doData:
		for range n%16 + 1 {
			w.data(way, 0, plain, 100)
		}
	case doLose:
		w.next[way] = (w.next[way] + uint32(n)) & wire.SequenceMask
	case doLate:
		w.data(way, -n-1, plain, 100)
	case doRetransmit:
		w.data(way, -n-1, rexmit, 100)
	case doAhead:
		w.data(way, n, rexmit, 100)
	case doKey:
		w.key = uint32(n) % 4
	case doFilter:
		w.data(way, -(n % 3), filter, 100)
	case doStray:
		for i := range 2 * n % 100 {
			w.send(way, dataOf(w.next[way]-50000-uint32(3*i), plain, 0, 10))
		}
	case doFarBehind:
		w.data(way, -4000-n, plain, 100)
	case doJump:
		w.data(way, 200*n, plain, 100)
	case doWrap:
		w.next[way] = wire.SequenceMask - uint32(n)%8
	case doWord:
		w.send(way, dataOf(w.next[way]-uint32(n%4), uint32(n)<<24|uint32(n)>>3, 0, 10))
	case doEmpty:
		w.data(way, 0, plain, 0)
	case doFlush:
		w.flush()
	case doWait:
		w.now += time.Duration(n) * time.Millisecond
	default:
		w.report(do, arg, way)
	}
}

// report sends a control packet.
func (w *twins) report(do, arg byte, way telemetry.Way) {
	w.t.Helper()
	n := uint32(arg)
	switch do {
	case doACK:
		w.send(way, controlOf(wire.TypeACK, 0, n, 0, 1, n*1000, n*10, 8000, 190, 1900, 250_000))
	case doLiteACK:
		w.send(way, controlOf(wire.TypeACK, 0, 0, 0, n))
	case doACKACK:
		w.send(way, controlOf(wire.TypeACKACK, 0, n, 0))
	case doNAK:
		var losses []uint32
		for i := range min(n, (wire.MaxPayload-wire.HeaderSize)/8) {
			losses = append(losses, 1<<31|1000*i, 1000*i+n)
		}
		w.send(way, controlOf(wire.TypeNAK, 0, 0, 0, losses...))
	case doDrop:
		w.send(way, controlOf(wire.TypeDropReq, 0, 0, 0, w.next[way]-n, w.next[way]))
	case doKeepalive:
		w.send(way, controlOf(wire.TypeKeepalive, 0, 0, 0, 0))
	case doFeatures:
		w.send(way, features(wire.SubtypeHSReq+uint16(arg%2), wire.FlagRexmit*(n/2%2)))
	case doKeyMaterial:
		w.send(way, controlOf(wire.TypeUser, wire.SubtypeKMReq, 0, 0, 1, 2, 2<<24, n%9))
	}
}

// run runs a script.
func (w *twins) run(script []byte) {
	w.t.Helper()
	for n := 0; len(script) >= 3 && n < 200; n++ {
		w.step(script[0]%steps, script[2], telemetry.Way(script[1]%2))
		script = script[3:]
	}
	w.compare()
}

// script builds one of steps to the backend: what to do, how much.
func script(steps ...byte) (s []byte) {
	for ; len(steps) > 0; steps = steps[2:] {
		s = append(s, steps[0], 0, steps[1])
	}
	return s
}

// telemetryCases are scripts by what they are about.
var telemetryCases = map[string][]byte{
	"in order":                  script(doData, 9, doFlush, 0, doData, 15),
	"in order from both":        {doData, 0, 9, doData, 1, 9, doData, 0, 9, doData, 1, 3},
	"lost":                      script(doData, 9, doLose, 3, doData, 1, doLose, 200, doData, 1),
	"lost first":                script(doLose, 3, doData, 1),
	"late":                      script(doData, 9, doLose, 2, doData, 3, doLate, 4, doLate, 5, doData, 1),
	"duplicated":                script(doData, 9, doLate, 0, doLate, 3),
	"retransmitted":             script(doData, 9, doLose, 2, doData, 3, doRetransmit, 5, doRetransmit, 4, doWait, 200, doRetransmit, 4),
	"retransmitted at once":     script(doData, 9, doRetransmit, 2, doRetransmit, 2, doWait, 20, doRetransmit, 2),
	"retransmitted ahead":       script(doData, 9, doAhead, 3, doData, 2, doAhead, 0, doData, 2),
	"no R bit":                  script(doFeatures, 1, doFeatures, 0, doData, 9, doLose, 2, doData, 1, doRetransmit, 1, doAhead, 0, doData, 3),
	"R bit is announced":        script(doFeatures, 0, doData, 9, doRetransmit, 1, doFeatures, 3, doRetransmit, 2, doData, 3),
	"key changes":               script(doData, 3, doKey, 1, doData, 3, doKey, 2, doData, 3, doLate, 5, doKey, 0, doData, 1),
	"key of a retransmission":   script(doKey, 1, doData, 3, doKey, 2, doAhead, 1, doData, 3),
	"FEC":                       script(doData, 3, doFilter, 0, doFilter, 1, doData, 3, doFilter, 2),
	"FEC first":                 script(doFilter, 0, doData, 3),
	"strays":                    script(doLose, 255, doData, 15, doStray, 15, doData, 1, doStray, 17, doData, 2),
	"31 strays":                 script(doData, 15, doStray, 15, doFarBehind, 200, doData, 1, doStray, 15, doFarBehind, 200),
	"32 strays":                 script(doData, 15, doStray, 16, doData, 2),
	"edge of the window behind": script(doData, 15, doFarBehind, 95, doFarBehind, 96, doFarBehind, 97),
	"largest gap":               script(doData, 1, doJump, 128, doData, 1, doLose, 1, doJump, 128, doData, 1, doJump, 255),
	"wrap":                      script(doData, 1, doWrap, 4, doData, 15, doLate, 9, doRetransmit, 6, doWrap, 1, doLose, 3, doData, 3),
	"reports":                   {doData, 0, 9, doACK, 1, 5, doWait, 0, 30, doACKACK, 0, 5, doLiteACK, 1, 3, doNAK, 1, 3, doDrop, 0, 4, doKeepalive, 0, 0},
	"longest NAK":               {doNAK, 1, 255, doNAK, 1, 181, doNAK, 1, 180, doNAK, 1, 6, doNAK, 1, 5},
	"reports of nothing":        {doNAK, 0, 3, doACK, 0, 3, doACKACK, 1, 3, doDrop, 1, 3},
	"key material":              script(doKeyMaterial, 4, doData, 1, doKeyMaterial, 8),
	"any word":                  script(doData, 3, doWord, 255, doWord, 128, doWord, 7, doWord, 64, doData, 3),
	"no payload":                script(doEmpty, 0, doEmpty, 0, doData, 1),
}

// What the shard knows of a session in the path is what it knows of one that it relays.
func TestTelemetryOfWhatPasses(t *testing.T) {
	r := newRig(t)
	for _, name := range slices.Sorted(maps.Keys(telemetryCases)) {
		t.Run(name, func(t *testing.T) { newTwins(t, r).run(telemetryCases[name]) })
	}
	t.Run("random", func(t *testing.T) {
		random := rand.New(rand.NewPCG(14, 1))
		for range 25 {
			s := make([]byte, 300)
			for i := 0; i < len(s); i += 4 {
				binary.NativeEndian.PutUint32(s[i:], random.Uint32())
			}
			newTwins(t, r).run(s)
		}
	})
}

func FuzzTelemetry(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(telemetryCases)) {
		f.Add(telemetryCases[name])
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, s []byte) { newTwins(t, r).run(s) })
}
