package srttest

import (
	"net/netip"
	"slices"
	"time"

	"srtrelay/wire"
)

// Connection is one SRT socket that a Listener accepted. It belongs to its
// Listener, whose reader feeds it; the exported fields never change.
type Connection struct {
	endpoint
	listener *Listener

	ID         uint32 // the listener's socket ID
	Source     netip.AddrPort
	ISN        uint32
	Version    uint32
	StreamID   string
	Features   wire.Features // of the HSREQ
	PeerIP     netip.Addr    // as received
	GroupID    uint32
	MirrorID   uint32 // what the caller is told about GroupID
	KeyLen     int    // bytes, from the KMREQ
	Accepted   time.Time
	Conclusion wire.Handshake // the first, as received

	blocks   []wire.Block
	arrivals []Arrival // under endpoint.mu, like the rest
	sourcing bool
	sourceAt time.Time
	sourced  int
}

// Arrival is one CONCLUSION of a connection, repeated ones included.
type Arrival struct {
	At        time.Time
	Timestamp uint32 // of the header
	Packet    wire.Handshake
}

// arrivalLimit bounds what a storm of CONCLUSIONs leaves behind.
const arrivalLimit = 256

func (c *Connection) arrived(h wire.Handshake) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.arrivals) < arrivalLimit {
		c.arrivals = append(c.arrivals, Arrival{At: time.Now(), Timestamp: h.Packet().Timestamp(), Packet: h})
	}
}

// Arrivals is every CONCLUSION that came for this connection, oldest first.
func (c *Connection) Arrivals() []Arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.arrivals)
}

// read takes in the extensions; it returns a rejection code or 0.
func (c *Connection) read() wire.HandshakeType {
	h := c.Conclusion
	if c.Version < 5 {
		return 0
	}
	var features, configured bool
	configured = h.Extension()&wire.FlagConfig != 0
	for b := range h.Blocks {
		switch b.Type {
		case wire.BlockHSReq:
			c.Features, features = b.Features()
		case wire.BlockKMReq:
			if len(b.Content) > 15 {
				c.KeyLen = int(b.Content[15]) * 4
			}
		case wire.BlockSID:
			if configured && !b.Cut {
				if b.Size == 0 || b.Size > wire.MaxStreamID {
					return badRequest
				}
				c.StreamID = b.String()
			}
		case wire.BlockGroup:
			if configured {
				c.GroupID, _ = b.GroupID()
			}
		}
		if !b.Cut {
			c.blocks = append(c.blocks, b)
		}
	}
	return c.verdict(features)
}

func (c *Connection) verdict(features bool) wire.HandshakeType {
	switch {
	case !features || c.Conclusion.Extension()&wire.FlagHSReq == 0:
		return rogue
	case !c.listener.cfg.Gosrt:
		return 0
	case c.Features.Flags&gosrtNeeds != gosrtNeeds:
		return rogue
	case c.KeyLen != 0 && int(c.Conclusion.Encryption())*keyUnit != c.KeyLen:
		return rogue
	}
	return 0
}

// respond sends a freshly stamped CONCLUSION response.
func (c *Connection) respond() {
	r := c.response()
	r.Packet().SetTimestamp(c.now())
	c.listener.send(spoil(r, Lie(c.listener.lie.Load())), c.Source)
}

func (c *Connection) response() wire.Handshake {
	h := c.Conclusion
	r := make(wire.Handshake, wire.HandshakeSize, bufferSize)
	copy(r, h)
	wire.PutControl(r, wire.TypeHandshake, 0, h.SocketID())
	r.SetType(wire.HandshakeConclusion)
	r.SetSocketID(c.ID)
	r.SetPeerIP(c.Source.Addr())
	r.SetMSS(min(h.MSS(), maxMSS))
	if c.Version < 5 {
		return r
	}
	gosrt := c.listener.cfg.Gosrt
	if gosrt {
		r.SetCookie(0)
	}
	f := wire.Features{
		Version: srtVersion, Flags: libsrtFlags,
		RecvDelay: max(c.listener.cfg.Latency, c.Features.SendDelay),
		SendDelay: max(c.listener.cfg.Latency, c.Features.RecvDelay),
	}
	flags := uint16(wire.FlagHSReq)
	r = wire.AppendFeatures(r, wire.BlockHSRsp, f)
	for _, b := range c.blocks {
		switch {
		case b.Type == wire.BlockKMReq:
			flags |= wire.FlagKMReq
			r = wire.AppendBlock(r, wire.BlockKMRsp, b.Content)
		case b.Type == wire.BlockGroup && c.GroupID != 0:
			flags |= wire.FlagConfig
			r = wire.AppendBlock(r, b.Type, groupContent(c.MirrorID))
		case b.Type == wire.BlockCongestion, b.Type == wire.BlockFilter, b.Type == wire.BlockSID && gosrt:
			flags |= wire.FlagConfig
			r = wire.AppendBlock(r, b.Type, b.Content)
		}
	}
	r.SetExtension(flags)
	return r
}

// ackEvery is libsrt's lite ACK interval divided by four: a real peer's send
// buffer drains well before its flow window fills.
const ackEvery = 16

func (c *Connection) receive(b []byte) {
	l := c.listener
	c.mu.Lock()
	c.echoKeepalives = l.echoKeepalives.Load()
	fresh := c.book(b)
	if fresh && Mode(l.mode.Load()) == Echo {
		c.sendData(b[wire.HeaderSize:])
	}
	if fresh && l.acks.Load() && c.counters.Received%ackEvery == 0 {
		c.sendAck()
	}
	over := c.isDone
	c.mu.Unlock()
	if over {
		l.remove(c)
	}
	c.notifier.Notify()
}
