//go:build linux

package hostile

import (
	"srtrelay/bench/live"
	"srtrelay/bench/srt"
	"srtrelay/handshake"
	"srtrelay/internal/srttest"
)

// longest is the longest forged datagram, above every MTU.
const longest = 1600

// forge makes hostile datagrams for these victims.
type forge struct {
	*srttest.Fuzzer
	victims []live.Pair
	cookies []uint32 // good ones, of the attacker's own address
}

func newForge(seed uint64, victims []live.Pair) *forge {
	f := &forge{Fuzzer: srttest.NewFuzzer(seed, longest), victims: victims}
	f.ID = f.id
	return f
}

// id returns a socket ID: a random one, a victim's of either end, or 0.
func (f *forge) id() uint32 {
	if len(f.victims) > 0 {
		victim := f.victims[f.IntN(len(f.victims))]
		switch f.IntN(5) {
		case 0:
			return victim.Server
		case 1:
			return victim.Caller
		}
	}
	if f.IntN(8) == 0 {
		return 0
	}
	return f.Uint32() | 1
}

// request returns an INDUCTION or a CONCLUSION with a good, a stale or a bad cookie, often
// damaged.
func (f *forge) request() []byte {
	id := f.Uint32()>>2 | 1
	if f.IntN(4) == 0 {
		id = f.id()
	}
	isn := f.Uint32() & srt.MaxSequence
	if f.IntN(3) == 0 {
		return f.Mutate(handshake.AppendInduction(nil, id, handshake.Nonce(isn), rigAddr))
	}
	cookie := f.Uint32()
	// Most have a bad cookie: a good one makes work for the servers, which belong to
	// the generator.
	if len(f.cookies) > 0 && f.IntN(20) == 0 {
		cookie = f.cookies[f.IntN(len(f.cookies))]
	}
	stream := srt.Request{Stream: "live/hostile"}
	return f.Mutate(srt.AppendConclusion(nil, id, isn, cookie, rigAddr, stream.StreamID()))
}
