package telemetry

import "time"

// record is the quality of one way of one session, in twenty cache lines; a test holds
// its size. The first line has everything that a data packet in order touches.
type record struct {
	last time.Duration // of the newest data packet
	next uint32        // sequence number after the newest
	// marked is up to where seen is complete: the packets from there to next have passed, but
	// have no bits yet. See catchUp.
	marked      uint32
	expect      uint32 // key and R bit of an ordinary packet, as they stand in its message word
	rexmit      uint32 // wire.RexmitBit, or 0 where that bit belongs to the message number
	strays      uint8  // packets in a row from behind the window
	hasReceiver bool   // a full ACK has set receiver
	implausible uint16 // full ACKs that cannot be true; stops at its maximum
	dropped     uint32 // sequence number after the last one in a DROPREQ
	Counts

	receiver Receiver
	ackTimer
	noted    [61]notedPacket // the last retransmissions and late packets
	nextNote uint8           // the place of the next one
	dropping bool            // dropped is valid
	seen     window
}

// Counts are the counters of one way.
type Counts struct {
	Packets uint64 // data packets of all kinds
	Bytes   uint64 // their payloads
	// Retransmitted have the R bit; Filter are FEC packets.
	Retransmitted, Filter uint64
	// LostBefore did not reach the relay, or only as a retransmission.
	LostBefore uint64
	// LostBehind were forwarded and had to be retransmitted.
	LostBehind uint64
	// LostReported counts the packets in NAKs, each time they are named.
	LostReported uint64
	Duplicated   uint64
	Reordered    uint64 // came late without a retransmission
	Dropped      uint64 // given up by the sender
	// Reports of the receiver and the sender.
	ACKs, NAKs, ACKACKs uint64
	KeyRefreshes        uint64 // changes from one key to the other
}

// Receiver is the content of a full ACK.
type Receiver struct {
	RTT, RTTVar uint32 // microseconds
	Buffer      uint32 // packets
	PacketRate  uint32 // packets per second
	Capacity    uint32 // packets per second
	ByteRate    uint32 // bytes per second
}

// Quality is a copy of what is known of one way.
type Quality struct {
	Counts
	// Last is when the last data packet passed, by the clock of Observe.
	Last time.Duration
	// Receiver is the last full ACK; zero until Heard.
	Receiver Receiver
	Heard    bool
	// Implausible counts full ACKs that could not be true and were ignored. It stops at
	// the maximum of its type.
	Implausible uint16
	// RTT between the relay and this way's sender, smoothed as in libsrt; 0 until
	// Timed.
	RTT, RTTVar time.Duration
	Timed       bool
}

// Bounds of plausible reports. An ACK is not authenticated: without bounds a forged one,
// or a broken peer, could put an RTT of 71 minutes in front of operators and into the
// histograms.
const (
	// maxRTT is twice the silence of 5 s after which SRT gives a peer up
	// (COMM_RESPONSE_TIMEOUT): on a longer path no session lives.
	maxRTT = 10_000_000 // microseconds
	// maxRate is above what 1 Tbit/s carries in packets of 1,316 bytes.
	// Bytes per second have no bound: all that 32 bits hold is 34 Gbit/s.
	maxRate = 100_000_000 // packets per second
	// maxBuffer is 88 GB in packets of 1,316 bytes.
	maxBuffer = 1 << 26 // packets
)

// plausible reports whether a full ACK can be true.
func (v Receiver) plausible() bool {
	return v.RTT <= maxRTT && v.RTTVar <= maxRTT && v.Buffer <= maxBuffer && v.PacketRate <= maxRate && v.Capacity <= maxRate
}

func (r *record) report() Quality {
	return Quality{
		Counts: r.Counts, Last: r.last,
		Receiver: r.receiver, Heard: r.hasReceiver, Implausible: r.implausible,
		RTT: micros(r.rtt), RTTVar: micros(r.rttVar), Timed: r.timed,
	}
}

func micros(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }

// windowSize is how many sequence numbers a window covers: 20 s of a stream of 2 Mbit/s,
// 2 s of one of 20 Mbit/s, which is more than its latency.
const windowSize = 4096

// window has a bit for each of the last sequence numbers: whether the packet has passed.
// 2^31 is a multiple of its size, so that it wraps with the sequence numbers.
type window [windowSize / 64]uint64

func (w *window) mark(seq uint32) { w[seq/64%(windowSize/64)] |= 1 << (seq % 64) }

func (w *window) has(seq uint32) bool { return w[seq/64%(windowSize/64)]>>(seq%64)&1 != 0 }

// skip clears n bits from seq on.
func (w *window) skip(seq, n uint32) {
	if n >= windowSize {
		*w = window{}
		return
	}
	w.eachWord(seq, n, func(word *uint64, bits uint64) { *word &^= bits })
}

// markAll sets n bits from seq on.
func (w *window) markAll(seq, n uint32) {
	if n >= windowSize {
		w.fill()
		return
	}
	w.eachWord(seq, n, func(word *uint64, bits uint64) { *word |= bits })
}

// eachWord calls fn with the words of n bits from seq on, and which of their bits those are.
func (w *window) eachWord(seq, n uint32, fn func(word *uint64, bits uint64)) {
	for n > 0 {
		bit := seq % 64
		k := min(n, 64-bit)
		fn(&w[seq/64%(windowSize/64)], (1<<k-1)<<bit)
		seq, n = seq+k, n-k
	}
}

// fill sets all bits.
func (w *window) fill() {
	for i := range w {
		w[i] = ^uint64(0)
	}
}
