package shard

import (
	"math"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/udp"
	"srtrelay/wire"
)

// peer is a backend's address while this shard has sessions there.
//
// When the kernel reports that nobody listens on it, that is a suspicion: ICMP
// is easily forged. The shard then sends INDUCTIONs with a secret nonce, which
// no live listener leaves unanswered. The backend is lost when an error quotes
// the nonce back (only who saw the datagram can) or when nothing at all comes
// from it until the last probe; any datagram from it clears the suspicion.
//
// One that is silent in a session is asked in the same way. If nothing comes
// until the last probe it is mute: that session ends sooner than it would if
// its backend answered (see silenceLimit). A mute one is asked on, so that it is
// known when it speaks again.
type peer struct {
	id       backend.ID
	addr     addr.AddrPort
	sessions int
	first    uint32 // of its sessions, the latest to join; index+1, by side.next
	slot     uint16
	// bytes counts what is relayed both ways, summed what the rates know of.
	bytes, summed uint64

	cookies []known // by upstream socket

	gone      time.Duration // when it was last found lost
	proof     proof         // ... and why
	condemned uint32        // the next session to be told; index+1, 0 for none
	suspect   bool
	refused   bool          // ... because the kernel reported a refusal
	mute      bool          // a suspect that left all probes unanswered
	since     time.Duration // it became a suspect
	spoke     time.Duration // it ceased to be one
	// unreachable is when the kernel last reported that no way leads there.
	unreachable time.Duration
	probes      int
	nextProbe   time.Duration
	probeID     uint32
	nonce       handshake.Nonce
}

// probeAfter are the times from one probe to the next. They leave a dead
// backend 0.8 s and a live one five chances to be heard on a lossy network.
var probeAfter = [...]time.Duration{
	50 * time.Millisecond,
	100 * time.Millisecond,
	150 * time.Millisecond,
	200 * time.Millisecond,
	300 * time.Millisecond,
}

// probesLast is the sum of probeAfter.
const probesLast = 800 * time.Millisecond

// errorsPerTurn bounds what a flood of ICMP messages can take of a turn.
const errorsPerTurn = 16

// slotLimit is how many backends a shard can have sessions with at once:
// Session names its peer in two bytes. The registry holds fewer, but a backend
// that has left it keeps its place until its last session ends.
const slotLimit = math.MaxUint16 + 1

// canJoin reports whether a session with a backend's address finds a slot.
func (s *Shard) canJoin(to addr.AddrPort) bool {
	return len(s.peers) < slotLimit || s.peers[to] != nil
}

// joinPeer counts a session to a backend's address, for which canJoin holds.
func (s *Shard) joinPeer(i uint32, ss *Session, id backend.ID) *peer {
	p := s.peers[ss.backend]
	if p == nil {
		p = &peer{addr: ss.backend, slot: s.freeSlot()}
		s.peers[ss.backend], s.slots[p.slot] = p, p
	}
	p.id = id
	p.sessions++
	ss.slot, ss.joined = p.slot, true
	sd := s.sessions.side(i)
	sd.peer, sd.next, sd.prev = p, p.first, 0
	if p.first != 0 {
		s.sessions.side(p.first - 1).prev = i + 1
	}
	p.first = i + 1
	return p
}

// freeSlot returns a free place among the slots. There are as many as the
// shard has had backends at once.
func (s *Shard) freeSlot() uint16 {
	for k, p := range s.slots {
		if p == nil {
			return uint16(k)
		}
	}
	s.slots = append(s.slots, nil)
	return uint16(len(s.slots) - 1)
}

// leavePeer uncounts a session, and forgets an address without any.
func (s *Shard) leavePeer(i uint32, ss *Session) {
	if !ss.joined {
		return
	}
	ss.joined = false
	sd := s.sessions.side(i)
	p := sd.peer
	if sd.prev != 0 {
		s.sessions.side(sd.prev - 1).next = sd.next
	} else {
		p.first = sd.next
	}
	if sd.next != 0 {
		s.sessions.side(sd.next - 1).prev = sd.prev
	}
	if p.condemned == i+1 {
		p.condemned = sd.next
	}
	sd.next, sd.prev = 0, 0
	if p.sessions--; p.sessions == 0 {
		s.unsuspect(p)
		delete(s.peers, p.addr)
		s.slots[p.slot] = nil
	}
}

// readErrors reads the error queues of the upstream sockets that have any.
func (s *Shard) readErrors() {
	for port := range s.backs {
		l := &s.backs[port]
		if !l.faulty {
			continue
		}
		n := l.sock.ReadErrors(errorsPerTurn, func(r udp.Refusal) { s.refused(uint8(port), r) })
		l.faulty = n == errorsPerTurn
	}
}

// refused takes the kernel's word that a datagram met a closed port.
func (s *Shard) refused(port uint8, r udp.Refusal) {
	s.counters.inc(Refusals)
	p := s.peers[r.From]
	switch {
	case p == nil:
		return
	case r.Kind == udp.KindUnreachable:
		p.unreachable = s.now
		return
	case r.Kind != udp.KindRefused:
		return
	}
	if s.proves(port, p, r.Quoted) {
		s.lost(p, proof{at: s.now, silentSince: never})
		return
	}
	if !p.refused {
		s.suspectPeer(p)
		p.refused = true
	}
}

// suspectPeer begins to probe a backend, from the first probe on.
func (s *Shard) suspectPeer(p *peer) {
	if !p.suspect {
		p.suspect = true
		s.suspects = append(s.suspects, p)
	}
	p.since, p.probes = s.now, 0
	s.probePeer(p)
}

// askSilent has a backend probed that is silent in a session, unless it is
// probed already or has just answered.
func (s *Shard) askSilent(p *peer) {
	if !p.suspect && (p.spoke == 0 || s.now-p.spoke >= probesLast) {
		s.suspectPeer(p)
	}
}

// proves reports whether the quoted datagram is one of ours that an outsider
// cannot know: a probe, or leg 2 of a pending handshake.
func (s *Shard) proves(port uint8, p *peer, quoted []byte) bool {
	h, ok := wire.AsHandshake(quoted)
	if !ok || h.Packet().DestID() != 0 {
		return false
	}
	if p.suspect && h.SocketID() == p.probeID && h.ISN() == uint32(p.nonce) {
		return true
	}
	i, ss := s.byBack(port, &p.addr, h.SocketID())
	return ss != nil && ss.state == connecting && s.sessions.exchange(i).MatchesInduction(quoted)
}

// probePeer sends the next probe to a suspect.
func (s *Shard) probePeer(p *peer) {
	p.nextProbe = s.now + probeAfter[min(p.probes, len(probeAfter)-1)]
	p.probes = min(p.probes+1, len(probeAfter))
	p.probeID, p.nonce = s.random.Uint32()|1, handshake.NewNonce(s.random.Uint32())
	for k := range s.backs {
		if l := &s.backs[k]; l.ipv6 != p.addr.Is4() {
			b := handshake.AppendInduction(s.room(), p.probeID, p.nonce, p.addr.IP.Netip())
			l.out.Add(p.addr, addr.IP{}, 0, s.made(b))
			return
		}
	}
}

// probesPerTurn bounds what the suspects of a whole network take of a turn.
const probesPerTurn = 256

// verdict is when a suspect will have left its last probe unanswered.
func (p *peer) verdict() time.Duration {
	at := p.nextProbe
	for _, after := range probeAfter[p.probes:] {
		at += after
	}
	return at
}

// watchSuspects probes again, and gives up those who were refused and stayed
// silent.
func (s *Shard) watchSuspects() {
	probes := 0
	for k := len(s.suspects) - 1; k >= 0; k-- {
		p := s.suspects[k]
		switch {
		case s.now < p.nextProbe:
		case p.probes == len(probeAfter) && p.refused:
			s.lost(p, proof{at: s.now, silentSince: p.since})
		case probes < probesPerTurn:
			p.mute = p.probes == len(probeAfter)
			s.probePeer(p)
			probes++
		}
	}
}

// clearSuspect lifts the suspicion from whoever just spoke.
func (s *Shard) clearSuspect(from addr.AddrPort) {
	if p := s.peers[from]; p != nil {
		p.spoke = s.now
		s.unsuspect(p)
	}
}

func (s *Shard) unsuspect(p *peer) {
	if !p.suspect {
		return
	}
	p.suspect, p.refused, p.mute = false, false, false
	for k, other := range s.suspects {
		if other == p {
			last := len(s.suspects) - 1
			s.suspects[k] = s.suspects[last]
			s.suspects = s.suspects[:last]
			return
		}
	}
}

// probeReply takes a backend's datagram that belongs to no session.
func (s *Shard) probeReply(d *udp.Datagram, p wire.Packet) Counter {
	if peer := s.peers[d.From]; peer != nil && peer.probes > 0 && p.DestID() == peer.probeID {
		return Consumed
	}
	return DropForeignBackend
}
