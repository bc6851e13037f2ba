package shard

import (
	"math"
	"sync/atomic"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/udp"
	"srtrelay/wire"
)

// peer is a backend's address while this shard has sessions there.
//
// When the kernel reports an ICMP error that says nobody listens there, the peer is
// a suspect only, because ICMP is easily forged. The shard then probes it: it sends
// INDUCTIONs with a secret nonce, which a live listener answers. The backend is lost
// when an ICMP error quotes the nonce, or when nothing comes from it until the last
// probe has timed out. Any datagram from it clears the suspicion.
//
// A peer that is silent in a session is probed in the same way. When all probes have
// timed out it is unresponsive: the session ends sooner than it would if the backend
// answered (see silenceLimit). The probes go on, to notice when it answers again.
type peer struct {
	id           backend.ID
	addr         addr.AddrPort
	sessions     int
	firstSession uint32 // head of the list of its sessions; index+1, by coldState.next
	slot         uint16
	// bytes counts what is relayed both ways, ratedBytes what was counted when
	// the rates were last published.
	bytes, ratedBytes uint64

	cookies []cachedCookie // by upstream socket

	lostAt       time.Duration // when it was last lost
	proof        proof         // why it was lost
	nextToEnd    uint32        // the next session to end, of those of a lost backend; index+1
	suspect      bool
	refused      bool          // a suspect because of an ICMP error
	unresponsive bool          // a suspect that has answered no probe
	suspectSince time.Duration // when it became a suspect
	clearedAt    time.Duration // when it ceased to be one
	// unreachableAt is when the kernel last reported that there is no route.
	unreachableAt time.Duration
	probes        int
	nextProbe     time.Duration
	probeID       uint32
	nonce         handshake.Nonce
}

// cachedCookie is the cookie that a backend gave to an upstream socket. It is the same
// for every caller behind that socket, so that a leg can skip its INDUCTION.
type cachedCookie struct {
	cookie uint32
	since  time.Duration // 0 for none
}

// cookie returns the backend's cookie for an upstream socket, if it is known.
func (p *peer) cookie(upstream uint8, now time.Duration) (cookie uint32, ok bool) {
	if int(upstream) >= len(p.cookies) {
		return 0, false
	}
	k := p.cookies[upstream]
	return k.cookie, k.since != 0 && now-k.since < handshake.CookieTTL
}

// storeCookie keeps the backend's cookie for an upstream socket.
func (p *peer) storeCookie(upstream uint8, cookie uint32, now time.Duration) {
	for len(p.cookies) <= int(upstream) {
		p.cookies = append(p.cookies, cachedCookie{})
	}
	p.cookies[upstream] = cachedCookie{cookie, now}
}

// slotLimit is how many backends a shard can have sessions with at once, because
// session.peerSlot has two bytes. The registry holds fewer, but a backend that has
// left it keeps its slot until its last session ends.
const slotLimit = math.MaxUint16 + 1

// peers are the backends' addresses that this shard has sessions with. They belong
// to the loop.
type peers struct {
	byAddr   map[addr.AddrPort]*peer
	slots    []*peer // by session.peerSlot; nil where one is free
	suspects []*peer
	ending   []*peer // lost; some of their sessions have not been ended yet

	ratesAt time.Duration // when rates were last published
	rates   atomic.Pointer[rates]
}

// hasRoom reports whether a session with a backend's address finds a slot.
func (ps *peers) hasRoom(to addr.AddrPort) bool {
	return len(ps.byAddr) < slotLimit || ps.byAddr[to] != nil
}

// join adds session i to the peer at its backend's address. There must be room.
func (ps *peers) join(all *sessions, i uint32, ss *session, id backend.ID) *peer {
	p := ps.byAddr[ss.backend]
	if p == nil {
		p = &peer{addr: ss.backend}
		ps.add(p)
	}
	p.id = id
	p.link(all, i, ss)
	return p
}

// add gives a peer a slot. There must be room.
func (ps *peers) add(p *peer) {
	p.slot = ps.freeSlot()
	ps.byAddr[p.addr], ps.slots[p.slot] = p, p
}

// link puts session i at the head of the peer's list.
func (p *peer) link(all *sessions, i uint32, ss *session) {
	p.sessions++
	ss.peerSlot, ss.inPeer = p.slot, true
	cold := all.cold(i)
	cold.peer, cold.next, cold.prev = p, p.firstSession, 0
	if p.firstSession != 0 {
		all.cold(p.firstSession - 1).prev = i + 1
	}
	p.firstSession = i + 1
}

// freeSlot returns a free slot. There are as many as the shard has had peers at
// once.
func (ps *peers) freeSlot() uint16 {
	for k, p := range ps.slots {
		if p == nil {
			return uint16(k)
		}
	}
	ps.slots = append(ps.slots, nil)
	return uint16(len(ps.slots) - 1)
}

// leave removes session i from its peer, and the peer with its last session.
func (ps *peers) leave(all *sessions, i uint32, ss *session) {
	if !ss.inPeer {
		return
	}
	ss.inPeer = false
	cold := all.cold(i)
	p := cold.peer
	if cold.prev != 0 {
		all.cold(cold.prev - 1).next = cold.next
	} else {
		p.firstSession = cold.next
	}
	if cold.next != 0 {
		all.cold(cold.next - 1).prev = cold.prev
	}
	if p.nextToEnd == i+1 {
		p.nextToEnd = cold.next
	}
	cold.next, cold.prev = 0, 0
	if p.sessions--; p.sessions == 0 {
		ps.clearSuspicion(p)
		delete(ps.byAddr, p.addr)
		ps.slots[p.slot] = nil
	}
}

// suspect adds a peer to the suspects, from the first probe on.
func (ps *peers) suspect(now time.Duration, p *peer) {
	if !p.suspect {
		p.suspect = true
		ps.suspects = append(ps.suspects, p)
	}
	p.suspectSince, p.probes = now, 0
}

// clearSuspect ends the suspicion against the peer that a datagram came from.
func (ps *peers) clearSuspect(now time.Duration, from addr.AddrPort) {
	if p := ps.byAddr[from]; p != nil {
		p.clearedAt = now
		ps.clearSuspicion(p)
	}
}

func (ps *peers) clearSuspicion(p *peer) {
	if !p.suspect {
		return
	}
	p.suspect, p.refused, p.unresponsive = false, false, false
	for k, other := range ps.suspects {
		if other == p {
			last := len(ps.suspects) - 1
			ps.suspects[k] = ps.suspects[last]
			ps.suspects = ps.suspects[:last]
			return
		}
	}
}

// restartProbes has all suspects probed anew.
func (ps *peers) restartProbes(now time.Duration) {
	for _, p := range ps.suspects {
		p.suspectSince, p.probes, p.nextProbe, p.unresponsive = now, 0, now, false
	}
}

// probeAfter are the times from one probe to the next: several probes, because
// networks lose some, and less than a second in all (probesLast).
var probeAfter = [...]time.Duration{
	50 * time.Millisecond,
	100 * time.Millisecond,
	150 * time.Millisecond,
	200 * time.Millisecond,
	300 * time.Millisecond,
}

// probesLast is the sum of probeAfter; a test holds it.
const probesLast = 800 * time.Millisecond

// probesPerTurn limits the probes of a turn, for when a whole network is suspect.
const probesPerTurn = 256

// startProbing makes a peer a suspect and sends the first probe.
func (s *Shard) startProbing(p *peer) {
	s.peers.suspect(s.now, p)
	s.sendProbe(p)
}

// probeSilent starts to probe a backend that is silent in a session, unless it is
// being probed or has just answered.
func (s *Shard) probeSilent(p *peer) {
	if !p.suspect && (p.clearedAt == 0 || s.now-p.clearedAt >= probesLast) {
		s.startProbing(p)
	}
}

// sendProbe sends the next probe to a suspect.
func (s *Shard) sendProbe(p *peer) {
	p.nextProbe = s.now + probeAfter[min(p.probes, len(probeAfter)-1)]
	p.probes = min(p.probes+1, len(probeAfter))
	p.probeID, p.nonce = s.random.Uint32()|1, handshake.NewNonce(s.random.Uint32())
	for k := range s.backs {
		if l := &s.backs[k]; l.ipv6 != p.addr.Is4() {
			b := handshake.AppendInduction(s.scratchTail(), p.probeID, p.nonce, p.addr.IP.Netip())
			l.out.Add(p.addr, addr.IP{}, 0, s.keepScratch(b))
			return
		}
	}
}

// probesEnd is when the last probe of a suspect times out.
func (p *peer) probesEnd() time.Duration {
	at := p.nextProbe
	for _, after := range probeAfter[p.probes:] {
		at += after
	}
	return at
}

// probeSuspects sends the probes that are due, and gives up the suspects that were
// refused and have answered no probe.
func (s *Shard) probeSuspects() {
	probes := 0
	for k := len(s.peers.suspects) - 1; k >= 0; k-- {
		p := s.peers.suspects[k]
		switch {
		case s.now < p.nextProbe:
		case p.probes == len(probeAfter) && p.refused:
			s.backendLost(p, proof{at: s.now, silentSince: p.suspectSince})
		case probes < probesPerTurn:
			p.unresponsive = p.probes == len(probeAfter)
			s.sendProbe(p)
			probes++
		}
	}
}

// probeReply handles a backend's datagram that belongs to no session.
func (s *Shard) probeReply(d *udp.Datagram, p wire.Packet) Counter {
	if peer := s.peers.byAddr[d.From]; peer != nil && peer.probes > 0 && p.DestID() == peer.probeID {
		return CountConsumed
	}
	return DropForeignBackend
}
