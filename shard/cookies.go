package shard

import (
	"time"

	"srtrelay/handshake"
)

// known is a cookie that a backend gave to one of our ports: it is the same for
// every caller behind that port, so that leg 2 can do without its INDUCTION.
type known struct {
	cookie uint32
	since  time.Duration // 0 for none
}

// cookie returns what the backend would answer an INDUCTION from an upstream
// socket with, if that is known.
func (p *peer) cookie(port uint8, now time.Duration) (cookie uint32, ok bool) {
	if int(port) >= len(p.cookies) {
		return 0, false
	}
	k := p.cookies[port]
	return k.cookie, k.since != 0 && now-k.since < handshake.CookieTTL
}

// learn keeps a cookie.
func (p *peer) learn(port uint8, cookie uint32, now time.Duration) {
	for len(p.cookies) <= int(port) {
		p.cookies = append(p.cookies, known{})
	}
	p.cookies[port] = known{cookie, now}
}
