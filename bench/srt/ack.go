package srt

// ACKEvery is how many data packets there are to a full ACK: one each 10 ms of
// a stream of 600 packets per second, which is 6.3 Mb/s.
const ACKEvery = 6

// ACKs numbers a receiver's full ACKs and tells when one is due.
type ACKs struct {
	number  uint32
	unacked uint8
}

// NewACKs begins somewhere between two of them, by the session's ID: of many
// sessions some acknowledge from the beginning on, as they will later.
func NewACKs(id uint32) ACKs { return ACKs{unacked: uint8(id % ACKEvery)} }

// Take counts a data packet in. If an ACK is due with it, number is the ACK's.
func (a *ACKs) Take() (number uint32, due bool) {
	if a.unacked++; a.unacked < ACKEvery {
		return 0, false
	}
	a.unacked = 0
	a.number++
	return a.number, true
}
