package kernelpath

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// Errors that say why a session stays in user space.
var (
	// ErrNoRoute says that there is no route that the program could use.
	ErrNoRoute = errors.New("no route for the kernel path")
	// ErrFamilies says that caller and backend are of different address families.
	ErrFamilies = errors.New("caller and backend are of different address families")
	// ErrFull says that the program's tables are full.
	ErrFull = errors.New("the kernel path's tables are full")
)

// Session is what the program knows of an established session.
type Session struct {
	// Place is the session's place in its shard, Gen its generation, not 0.
	Place, Gen uint32
	// Caller and Backend are the peers; Front is the address that the caller dialled.
	Caller, Front, Backend addr.AddrPort
	// Upstream is the relay's address towards the backend. Enter and Update keep its IP, by which
	// the backend knows the session, as long as the host has it, and set it otherwise. Pinned says
	// that the host would use another one by now.
	Upstream            addr.AddrPort
	Pinned              bool
	CallerID, BackendID uint32
}

// Enter has the program relay a session whose place was reset. Both ways are pending.
func (s *Shard) Enter(e *Session) error {
	if e.Caller.Is4() != e.Backend.Is4() {
		return ErrFamilies
	}
	toBackend, toCaller, source, err := s.routes(e)
	if err != nil {
		return err
	}
	e.Upstream.IP = source
	s.Way(e.Place, 0).SetPending()
	s.Way(e.Place, 1).SetPending()
	if err := s.put(e, toBackend, toCaller); err != nil {
		s.Leave(e)
		return err
	}
	return nil
}

// Reset prepares a place for a session of a generation: its ways are off, and have counted
// nothing.
func (s *Shard) Reset(place, gen uint32) {
	for way := range 2 {
		s.Way(place, way).reset(gen)
	}
}

// Leave ends a session in the program: what comes from now on goes up. The counters of
// its ways stay until the place is reset.
func (s *Shard) Leave(e *Session) {
	s.Way(e.Place, 0).SetOff()
	s.Way(e.Place, 1).SetOff()
	for _, f := range s.flows(e, hop{}, hop{}) {
		_ = f.table.Delete(f.key) // it is there, or put has failed
	}
}

// Update resolves the routes of a session again and replaces its entries. After an error
// the session is in user space, and Update may be called again.
func (s *Shard) Update(e *Session) error {
	toBackend, toCaller, source, err := s.routes(e)
	if err != nil {
		s.Leave(e)
		return err
	}
	if source != e.Upstream.IP {
		s.Leave(e)
		e.Upstream.IP = source
		s.Way(e.Place, 0).SetPending()
		s.Way(e.Place, 1).SetPending()
	}
	if err := s.put(e, toBackend, toCaller); err != nil {
		s.Leave(e)
		return err
	}
	return nil
}

// routes resolves the routes to both peers of a session, and the relay's address towards
// the backend.
func (s *Shard) routes(e *Session) (toBackend, toCaller hop, source addr.IP, err error) {
	if toCaller, _, err = s.resolve(e.Caller.IP, e.Front.IP); err != nil {
		return hop{}, hop{}, addr.IP{}, err
	}
	toBackend, source, err = s.resolve(e.Backend.IP, addr.IP{})
	e.Pinned = false
	if known := e.Upstream.IP; known != (addr.IP{}) && known != source {
		if h, _, gone := s.resolve(e.Backend.IP, known); gone == nil {
			toBackend, source, err, e.Pinned = h, known, nil, true
		}
	}
	return toBackend, toCaller, source, err
}

// localPeer is PEER_LOCAL of the program.
const localPeer = 2

// flow is one way of a session: an entry of a table.
type flow struct {
	table      *ebpf.Map
	key, value any
}

// flows returns both ways of a session.
func (s *Shard) flows(e *Session, toBackend, toCaller hop) [2]flow {
	way := 2 * (s.base + e.Place)
	return [2]flow{
		s.flow(e, ends{e.Caller, e.Front}, ends{e.Upstream, e.Backend}, e.BackendID, toBackend.from(toCaller), way),
		s.flow(e, ends{e.Backend, e.Upstream}, ends{e.Front, e.Caller}, e.CallerID, toCaller.from(toBackend), way+1),
	}
}

// from returns the hop of datagrams whose sender is where another hop leads.
func (h hop) from(sender hop) hop {
	if sender.action != pathActionTO_DEVICE {
		h.flags |= localPeer
	}
	return h
}

// ends are the two addresses of a datagram.
type ends struct{ from, to addr.AddrPort }

// put enters both ways into the tables.
func (s *Shard) put(e *Session, toBackend, toCaller hop) error {
	for _, f := range s.flows(e, toBackend, toCaller) {
		err := f.table.Put(f.key, f.value)
		if errors.Is(err, unix.E2BIG) {
			return ErrFull
		}
		if err != nil {
			return fmt.Errorf("enter session: %w", err)
		}
	}
	return nil
}

// flow returns the entry of datagrams that come with the addresses in and leave with out.
func (s *Shard) flow(e *Session, in, out ends, id uint32, h hop, way uint32) flow {
	to := pathTarget{
		Way: way, Gen: e.Gen, Ring: uint16(s.index), Ifindex: h.device, Mtu: h.mtu,
		Action: uint8(h.action), Flags: h.flags,
		Sport: bigPort(out.from.Port), Dport: bigPort(out.to.Port),
		PseudoDelta: sumDelta(in, out, addressBytes), PortsDelta: sumDelta(in, out, portBytes),
	}
	if in.from.Is4() {
		return flow{
			s.path.objects.Sessions4,
			&pathKey4{
				Peer: word4(in.from.IP), Local: word4(in.to.IP),
				PeerPort: bigPort(in.from.Port), LocalPort: bigPort(in.to.Port), Id: bigID(id),
			},
			&pathHop4{
				To: to, Saddr: word4(out.from.IP), Daddr: word4(out.to.IP),
				Next: pathNeighbour{Family: unix.AF_INET, Address: [4]uint32{word4(h.next)}},
			},
		}
	}
	return flow{
		s.path.objects.Sessions6,
		&pathKey6{
			Peer: words6(in.from.IP), Local: words6(in.to.IP),
			PeerPort: bigPort(in.from.Port), LocalPort: bigPort(in.to.Port), Id: bigID(id),
		},
		&pathHop6{
			To: to, Saddr: words6(out.from.IP), Daddr: words6(out.to.IP),
			Next: pathNeighbour{Family: unix.AF_INET6, Address: words6(h.next)},
		},
	}
}

// The program keeps addresses, ports and IDs as they are on the wire.

func word4(ip addr.IP) uint32 { return binary.NativeEndian.Uint32(ip[12:]) }

func words6(ip addr.IP) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(ip[4*i:])
	}
	return w
}

func bigPort(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

func bigID(id uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, id))
}

// addressBytes and portBytes return what a checksum covers of an end.
func addressBytes(a addr.AddrPort) []byte {
	if a.Is4() {
		return a.IP[12:]
	}
	return a.IP[:]
}

func portBytes(a addr.AddrPort) []byte { return binary.BigEndian.AppendUint16(nil, a.Port) }

// sumDelta returns what the change of a part of both ends adds to the sum of a datagram: a
// ones' complement sum (RFC 1624), in the byte order of the host.
func sumDelta(in, out ends, part func(addr.AddrPort) []byte) uint16 {
	var sum uint32 // of 32 words at most
	for _, old := range [][]byte{part(in.from), part(in.to)} {
		for ; len(old) > 0; old = old[2:] {
			sum += uint32(^binary.NativeEndian.Uint16(old))
		}
	}
	for _, now := range [][]byte{part(out.from), part(out.to)} {
		for ; len(now) > 0; now = now[2:] {
			sum += uint32(binary.NativeEndian.Uint16(now))
		}
	}
	sum = sum&0xffff + sum>>16
	return uint16(sum&0xffff + sum>>16)
}
