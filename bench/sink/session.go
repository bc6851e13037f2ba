//go:build linux

package sink

import (
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
)

// session is one accepted caller. Only the loop uses it.
type session struct {
	caller       socket.Address
	lastReceived int64 // when the last datagram came from the caller
	rate         float64
	receiver     tally.Receiver
	source       srt.Source
	id           uint32 // ours
	peer         uint32 // the caller's
	isn          uint32
	port         uint16 // index
	open         bool
	play         bool
	sent         bool // sent something since the last visit
}

// attempt identifies one connection attempt of a caller, as libsrt does.
type attempt struct {
	caller socket.Address
	peer   uint32
	isn    uint32
}

func (s *session) attempt() attempt { return attempt{s.caller, s.peer, s.isn} }

const (
	// pageSize is how many sessions the table grows by, without moving the others.
	pageSize = 1 << 12
	// maxClosed is how many sessions are closed before the place of the first is used
	// again.
	maxClosed = 1 << 14
	// The low bits of a socket ID are a place, the others how often the place was
	// used. It is below 2^30 as those of libsrt. An ID comes again after
	// maxClosed*turns sessions, because a relay remembers ended sessions for a while.
	placeBits = 20
	turns     = 1<<(30-placeBits) - 1
)

// table is all sessions, found by socket ID. Only the loop uses it.
type table struct {
	turn     uint32 // of places used for the first time, 1 to turns
	pages    []*[pageSize]session
	used     int // entries that were ever used
	open     int
	closed   []uint32 // oldest first
	attempts map[attempt]uint32
	ackEvery uint8 // data packets per ACK of new sessions
}

func newTable(random uint32, ackEvery uint8) *table {
	return &table{turn: 1 + random%turns, attempts: map[attempt]uint32{}, ackEvery: ackEvery}
}

func (t *table) at(i int) *session { return &t.pages[i/pageSize][i%pageSize] }

// find returns the open session of a socket ID, or nil.
func (t *table) find(id uint32) *session {
	i := id % (1 << placeBits)
	if i >= uint32(t.used) {
		return nil
	}
	if s := t.at(int(i)); s.open && s.id == id {
		return s
	}
	return nil
}

// known returns the session that this attempt has led to, or nil.
func (t *table) known(a attempt) *session {
	i, ok := t.attempts[a]
	if !ok {
		return nil
	}
	return t.at(int(i))
}

// add opens a session for an attempt; nil if there is no place left.
func (t *table) add(a attempt) *session {
	i, turn := t.used, t.turn
	if len(t.closed) > maxClosed || t.used == 1<<placeBits && len(t.closed) > 0 {
		i = int(t.closed[0])
		t.closed = t.closed[1:]
		turn = 1 + t.at(i).id>>placeBits%turns
	} else {
		if i == 1<<placeBits {
			return nil
		}
		if i/pageSize == len(t.pages) {
			t.pages = append(t.pages, new([pageSize]session))
		}
		t.used++
	}
	s := t.at(i)
	*s = session{
		caller: a.caller, peer: a.peer, isn: a.isn, id: turn<<placeBits | uint32(i), open: true,
		receiver: tally.NewReceiver(a.isn, uint32(i), t.ackEvery), source: srt.NewSource(a.isn),
	}
	t.attempts[a] = uint32(i)
	t.open++
	return s
}

// remove closes a session.
func (t *table) remove(s *session) {
	delete(t.attempts, s.attempt())
	s.open = false
	t.closed = append(t.closed, s.id%(1<<placeBits))
	t.open--
}
