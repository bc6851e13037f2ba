package srt

// ACKEvery is how many data packets there are per full ACK: with 600 packets per second,
// which is 6.3 Mb/s, it makes one every 10 ms as libsrt does.
const ACKEvery = 6

// ACKs numbers a receiver's full ACKs and says when one is due.
type ACKs struct {
	number  uint32
	unacked uint8
	every   uint8
}

// NewACKs makes an ACK per every data packets. It begins somewhere between two ACKs, by the
// session's ID, so that the ACKs of many sessions are spread from the beginning.
func NewACKs(id uint32, every uint8) ACKs {
	return ACKs{unacked: uint8(id % uint32(every)), every: every}
}

// Count counts a data packet. If an ACK is due with it, number is the ACK's.
func (a *ACKs) Count() (number uint32, due bool) {
	if a.unacked++; a.unacked < a.every {
		return 0, false
	}
	a.unacked = 0
	a.number++
	return a.number, true
}
