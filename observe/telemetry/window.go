package telemetry

// windowSize is how many of the last sequence numbers are remembered: 20 s of
// a stream of 2 Mbit/s, 2 s of one of 20, more than its latency.
const windowSize = 4096

// window has a bit for each of the last sequence numbers: whether it has
// passed. 2^31 is a multiple of its size, so that it goes around with them.
type window [windowSize / 64]uint64

func (w *window) mark(seq uint32) { w[seq/64%(windowSize/64)] |= 1 << (seq % 64) }

func (w *window) has(seq uint32) bool { return w[seq/64%(windowSize/64)]>>(seq%64)&1 != 0 }

// skip clears n bits from seq on, word by word.
func (w *window) skip(seq, n uint32) {
	if n >= windowSize {
		*w = window{}
		return
	}
	for n > 0 {
		bit := seq % 64
		k := min(n, 64-bit)
		w[seq/64%(windowSize/64)] &^= (1<<k - 1) << bit
		seq, n = seq+k, n-k
	}
}

// fill sets all bits.
func (w *window) fill() {
	for i := range w {
		w[i] = ^uint64(0)
	}
}
