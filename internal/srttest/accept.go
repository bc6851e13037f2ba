package srttest

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"srtrelay/wire"
)

// handshake answers as libsrt's processConnectRequest does; the order of the
// checks is libsrt's. The type is not checked beyond INDUCTION, and WAVEAHAND
// of a rendezvous fails on its cookie.
func (l *Listener) handshake(from netip.AddrPort, h wire.Handshake) {
	l.answering.Lock()
	defer l.answering.Unlock()
	if h.Type() == wire.HandshakeInduction {
		l.answerInduction(from, h)
		return
	}
	if l.silentConclusion.Load() || !plausible(h) {
		l.stats.ignored.Add(1)
		return
	}
	if !l.validCookie(from, h.Cookie()) {
		l.stats.badCookies.Add(1)
		if l.cfg.Gosrt {
			l.reject(from, h, rogue)
		}
		return
	}
	switch v := h.Version(); {
	case v == 4 && (h.Encryption() != 0 || h.Extension() != wire.UDTDgram):
		l.reject(from, h, rogue)
		return
	case v != 4 && v != 5:
		l.reject(from, h, badVersion)
		return
	}
	l.conclude(from, h)
}

// plausible is CHandShake::valid; what fails it is dropped silently.
func plausible(h wire.Handshake) bool {
	return h.Version() >= 4 && h.ISN() < sequenceMask && h.MSS() >= minMSS && h.FlowWindow() >= minWindow
}

// answerInduction echoes the whole datagram, whatever its length, and checks
// nothing.
func (l *Listener) answerInduction(from netip.AddrPort, h wire.Handshake) {
	if l.silentInduction.Load() {
		l.stats.ignored.Add(1)
		return
	}
	r := slices.Clone(h)
	wire.PutControl(r, wire.TypeHandshake, l.now(), h.SocketID())
	r.SetVersion(5)
	r.SetEncryption(uint16(l.keyLen.Load() / keyUnit))
	r.SetExtension(wire.MagicCode)
	r.SetCookie(l.cookie(from, 0))
	l.send(spoil(r, Lie(l.inductionLie.Load())), from)
}

func (l *Listener) conclude(from netip.AddrPort, h wire.Handshake) {
	l.mu.RLock()
	known := l.accepted[l.origin(from, h)]
	l.mu.RUnlock()
	if known != nil {
		l.stats.repeated.Add(1)
		known.arrived(h)
		if !l.cfg.Gosrt {
			known.respond()
		}
		return
	}
	if code, yes := l.rejection(); yes {
		l.reject(from, h, code)
		return
	}
	c := &Connection{
		listener: l, Source: from, ISN: h.ISN(), Version: h.Version(),
		Accepted: time.Now(), PeerIP: h.PeerIP(), Conclusion: h,
	}
	if code := c.read(); code != 0 {
		l.reject(from, h, code)
		return
	}
	c.init(from, l.send)
	c.establish(h.SocketID(), h.ISN())
	c.arrived(h)
	l.admit(c)
	for range l.dataFirst.Load() {
		c.SendData(make([]byte, l.cfg.PayloadSize))
	}
	c.respond()
	switch {
	case l.closeAtOnce.Load():
		_ = l.SendShutdown(c)
	case Mode(l.mode.Load()) == Source:
		c.startSource()
	}
}

// admit gives the connection its ID and puts it into dispatch. With a fixed ID
// two connections from one source are ambiguous; the newest wins.
func (l *Listener) admit(c *Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastID--; l.lastID == 0 {
		l.lastID = libsrtIDs
	}
	c.ID = l.lastID
	if fixed := l.fixedID.Load(); fixed != 0 {
		c.ID = fixed
	}
	if c.GroupID != 0 && l.groups[c.GroupID] == 0 {
		l.groups[c.GroupID] = 1<<30 | rand.Uint32N(libsrtIDs)
	}
	c.MirrorID = l.groups[c.GroupID]
	l.live[route{c.Source, c.ID}] = c
	l.accepted[l.origin(c.Source, c.Conclusion)] = c
	l.all = append(l.all, c)
}

func (l *Listener) origin(from netip.AddrPort, h wire.Handshake) origin {
	if l.cfg.Gosrt {
		return origin{id: h.SocketID()}
	}
	return origin{source: from, id: h.SocketID(), isn: h.ISN()}
}

// reject answers with the request's fields; a version reject of libsrt keeps
// the request's length as well. HSv4 callers do not know codes and get a
// SHUTDOWN, except for the version.
func (l *Listener) reject(from netip.AddrPort, h wire.Handshake, code wire.HandshakeType) {
	l.stats.rejected.Add(1)
	if h.Version() == 4 && code != rogue {
		l.send(wire.AppendShutdown(nil, l.now(), h.SocketID()), from)
		return
	}
	r := slices.Clone(h)
	if code != rogue && code != badVersion {
		r = r[:wire.HandshakeSize]
	}
	wire.PutControl(r, wire.TypeHandshake, l.now(), h.SocketID())
	r.SetType(code)
	l.send(r, from)
}

const (
	libsrtCookieTurn = time.Minute
	gosrtCookieTurn  = 64 * time.Second
)

// cookie depends on the source address, the time and nothing else, so that all
// sockets of one port get the same one.
func (l *Listener) cookie(from netip.AddrPort, turnsAgo int64) uint32 {
	turn := libsrtCookieTurn
	if l.cfg.Gosrt {
		turn = gosrtCookieTurn
	}
	sum := maphash.Comparable(l.seed, struct {
		from  netip.AddrPort
		turn  int64
		epoch uint64
	}{from, int64(time.Since(l.start)/turn) - turnsAgo, l.cookieEpoch.Load()})
	return uint32(sum)
}

func (l *Listener) validCookie(from netip.AddrPort, c uint32) bool {
	return c == l.cookie(from, 0) || c == l.cookie(from, 1)
}
