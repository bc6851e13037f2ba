package tally

// Kind is a kind of datagram.
type Kind uint8

// The kinds. Other is handshakes, SHUTDOWNs and unknown datagrams.
const (
	Data Kind = iota
	ACK
	ACKACK
	NAK
	Keepalive
	Other
	kinds
)

// Counts are datagrams by kind.
type Counts [kinds]uint64

// Total returns the number of all kinds.
func (c *Counts) Total() (n uint64) {
	for _, v := range c {
		n += v
	}
	return n
}

func (c *Counts) minus(d Counts) (r Counts) {
	for i := range c {
		r[i] = c[i] - d[i]
	}
	return r
}

// Flow is one direction: datagrams by kind and bytes of UDP payload.
type Flow struct {
	Counts Counts
	Bytes  uint64
}

// Add counts a datagram of this kind and size.
func (f *Flow) Add(k Kind, size int) {
	f.Counts[k]++
	f.Bytes += uint64(size)
}

// Traffic returns the number of datagrams without keepalives, which never end, and
// handshakes.
func (f *Flow) Traffic() uint64 {
	return f.Counts[Data] + f.Counts[ACK] + f.Counts[ACKACK] + f.Counts[NAK]
}
