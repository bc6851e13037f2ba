//go:build linux

package load

import (
	"fmt"

	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
)

// phase is how far a session has come.
type phase uint8

const (
	waiting    phase = iota // not begun
	inducting               // the INDUCTION is out
	concluding              // the CONCLUSION is out
	connected
	ended // by the other side, or never connected
)

// session is one caller. Only the loop uses it.
type session struct {
	begun    int64 // first INDUCTION
	due      int64 // of the next retry
	receiver tally.Receiver
	source   srt.Source
	id       uint32 // ours
	peer     uint32 // the other side's, once connected
	isn      uint32
	cookie   uint32
	port     uint16 // index
	phase    phase
	play     bool
	sent     bool // sent something since the last visit
}

// requestOf is what session i asks for.
func (l *Load) requestOf(i int) srt.Request {
	r := srt.Request{Stream: fmt.Sprintf("%s/s%d", l.config.Prefix, i), Keepalive: l.config.Keepalive}
	if l.sessions[i].play {
		r.Stream = fmt.Sprintf("%s/p%d", l.config.Prefix, i)
		r.Play, r.Rate = true, l.config.Rate/float64(len(l.sessions))
	}
	return r
}

// isPlayer spreads the players' share evenly over the sessions.
func isPlayer(i int, share float64) bool {
	return int(float64(i+1)*share) > int(float64(i)*share)
}

// targetOf assigns ports to targets in turn. After each round it skips one, so that
// alternating players and publishers are spread over all targets.
func targetOf(port, targets int) int { return (port + port/targets) % targets }
