package telemetry

import "time"

// record is the quality of one way of one session: 1280 bytes, twenty cache
// lines. The first holds all that a data packet in order touches, but for its
// bit in seen.
type record struct {
	last   time.Duration // of the newest data packet
	next   uint32        // sequence number after the newest
	expect uint32        // key and R bit of an ordinary packet, as they stand in its message word
	rexmit uint32        // wire.RexmitBit, or 0 where that bit belongs to the message number
	strays uint8         // packets in a row from far behind
	heard  bool          // receiver is what a full ACK said
	lies   uint16        // full ACKs that cannot be true, at most so many
	Counts

	dropped  uint32 // sequence number after the last that DROPREQs gave up
	dropping bool   // dropped has a meaning
	receiver Receiver
	ackTimes
	again [61]occurrence // the last retransmissions and late packets
	when  uint8          // where the next goes
	seen  window
}

// Counts are what is counted of one way.
type Counts struct {
	Packets uint64 // data packets of all kinds
	Bytes   uint64 // their payloads
	// Retransmitted bear the R bit, Filter packets are FEC's.
	Retransmitted, Filter uint64
	// LostBefore never reached the relay, except by retransmission.
	LostBefore uint64
	// LostBehind were forwarded, and had to be sent again.
	LostBehind uint64
	// LostReported is what NAKs name, each time they name it.
	LostReported uint64
	Duplicated   uint64
	Reordered    uint64 // came late, but of themselves
	Dropped      uint64 // given up by the sender
	// What the receiver and the sender said.
	ACKs, NAKs, ACKACKs uint64
	KeyRefreshes        uint64 // changes from one key to the other
}

// Receiver is what a full ACK says of its sender.
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
	// Last is when media last passed, by the clock of Observe.
	Last time.Duration
	// Receiver is the zero value until Heard.
	Receiver Receiver
	Heard    bool
	// Implausible is how many full ACKs could not be true and were left out;
	// counted up to 65,535.
	Implausible uint16
	// RTT between the relay and this way's sender, smoothed as libsrt does;
	// nothing until Timed.
	RTT, RTTVar time.Duration
	Timed       bool
}

// Bounds of what a receiver may say of itself. An ACK is not signed: whoever
// forges one, or a broken peer, would otherwise put 4,294,967 ms where operators
// look, and into the histograms.
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

// plausible reports whether a receiver can be as it says.
func (v Receiver) plausible() bool {
	return v.RTT <= maxRTT && v.RTTVar <= maxRTT && v.Buffer <= maxBuffer && v.PacketRate <= maxRate && v.Capacity <= maxRate
}

func (r *record) report() Quality {
	return Quality{
		Counts: r.Counts, Last: r.last,
		Receiver: r.receiver, Heard: r.heard, Implausible: r.lies,
		RTT: micros(r.rtt), RTTVar: micros(r.rttVar), Timed: r.timed,
	}
}

func micros(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }
