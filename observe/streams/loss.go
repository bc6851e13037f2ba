package streams

import (
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// ratio is lost of sent; nothing was sent if that is 0.
type ratio struct{ lost, sent uint64 }

func (r ratio) known() bool { return r.sent > 0 }

// share is between 0 and 1.
func (r ratio) share() float64 { return float64(r.lost) / float64(r.sent) }

// sane keeps what a lying peer can make of its numbers within 100 %.
func (r ratio) sane() ratio {
	r.lost = min(r.lost, r.sent)
	return r
}

// media is what loss is reckoned from, of one way; since the beginning, or
// within a second.
type media struct {
	packets        uint64
	repeats        uint64 // were sent again, or are FEC's
	before, behind uint64 // lost there
}

func mediaOf(v *shard.View, way telemetry.Way) media {
	c := &v.Ways[way].Counts
	return media{c.Packets, c.Retransmitted + c.Filter, c.LostBefore, c.LostBehind}
}

// firsts are the packets that were not sent again.
func (m media) firsts() uint64 { return less(m.packets, m.repeats) }

// sides tells where media was lost: what comes from a side and never reached
// the relay, and what goes to it and had to be sent again, was lost there.
func sides(up, down media) (caller, backend ratio) {
	caller = ratio{up.before + down.behind, up.firsts() + up.before + down.packets}
	backend = ratio{down.before + up.behind, down.firsts() + down.before + up.packets}
	return caller.sane(), backend.sane()
}

// less subtracts; a number that went back, as loss does when a packet was only
// late, has not grown.
func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
