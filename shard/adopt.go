package shard

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"srtrelay/udp"
)

// SocketKind is the side that a socket is on.
type SocketKind string

// Kinds of sockets.
const (
	SocketFront    SocketKind = "front"
	SocketUpstream SocketKind = "upstream"
)

// Socket is a socket of a group as another process takes it over.
type Socket struct {
	Kind  SocketKind
	Shard int
	// Index is that of the listener, or of the socket among the shard's upstream sockets.
	// Sessions name their sockets by it.
	Index int
	Addr  netip.AddrPort // what it is bound to
	FD    int            // duplicate of the group's own
}

// String names the socket in errors.
func (k Socket) String() string {
	return fmt.Sprintf("%s socket %d of shard %d (%s)", k.Kind, k.Index, k.Shard, k.Addr)
}

// Sockets lists the sockets of a group that runs: the front sockets listener by listener,
// each in the order of its SO_REUSEPORT group, then the upstream sockets. The descriptors are
// duplicates, which the caller closes when the other process has its own.
//
// From then on no shard opens another upstream socket, which the list would not have. A
// handshake that needs one waits for Resume, or for the process that takes over.
func (g *Group) Sockets(ctx context.Context) (all []Socket, err error) {
	return g.listSockets(ctx, true)
}

// PresentSockets is Sockets for a group that goes on: shards may open others.
func (g *Group) PresentSockets(ctx context.Context) (all []Socket, err error) {
	return g.listSockets(ctx, false)
}

// CountUpstreams counts the upstream sockets of all shards. More say that PresentSockets has
// others.
func (g *Group) CountUpstreams() (n int) {
	for _, s := range g.shards {
		n += int(s.upstreams.Load())
	}
	return n
}

func (g *Group) listSockets(ctx context.Context, hold bool) (all []Socket, err error) {
	for _, s := range g.shards {
		var failed error
		err := s.inbox.do(ctx, func(s *Shard) {
			s.upstreamsHeld = s.upstreamsHeld || hold
			s.eachEndpoint(func(ep *endpoint, _ int) {
				if ep.closed || failed != nil {
					return
				}
				var one Socket
				if one, failed = s.socketOf(ep); failed == nil {
					all = append(all, one)
				}
			})
		})
		if err = cmp.Or(err, failed); err != nil {
			CloseSockets(all)
			return nil, fmt.Errorf("list the sockets of shard %d: %w", s.id, err)
		}
	}
	slices.SortStableFunc(all, func(a, b Socket) int {
		if a.Kind == SocketFront && b.Kind == SocketFront {
			return cmp.Compare(a.Index, b.Index)
		}
		return cmp.Compare(a.Kind, b.Kind) // "front" comes first
	})
	return all, nil
}

// CloseSockets closes the descriptors of sockets that nobody has adopted.
func CloseSockets(all []Socket) {
	for _, k := range all {
		_ = udp.CloseFD(k.FD)
	}
}

func (s *Shard) socketOf(ep *endpoint) (Socket, error) {
	kind := SocketUpstream
	if ep.side == sideFront {
		kind = SocketFront
	}
	fd, err := ep.sock.Dup()
	return Socket{Kind: kind, Shard: s.id, Index: int(ep.index), Addr: ep.sock.Local(), FD: fd}, err
}

// adopted are the sockets that a group takes over, in order.
type adopted struct {
	fronts    [][]*udp.Socket // by index, then by shard; nil where there is none
	upstreams [][]*udp.Socket // by shard
}

// adopt makes sockets of Config.Adopt. It owns the descriptors from the call on: after an
// error all are closed.
func adopt(c *Config) (a adopted, err error) {
	left := slices.Clone(c.Adopt)
	defer func() {
		if err != nil {
			a.close()
			CloseSockets(left)
		}
	}()
	slices.SortStableFunc(left, func(x, y Socket) int {
		if x.Kind == SocketFront && y.Kind == SocketFront {
			return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(x.Shard, y.Shard))
		}
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Shard, y.Shard), cmp.Compare(x.Index, y.Index))
	})
	a.upstreams = make([][]*udp.Socket, c.Shards)
	for len(left) > 0 {
		n, err := c.checkAdopted(left, &a)
		if err != nil {
			return a, err
		}
		next := left[:n]
		left = left[n:]
		if err := a.take(next, c); err != nil {
			return a, err
		}
	}
	return a, nil
}

// checkAdopted checks the next sockets to adopt, which it returns the number of: all those of
// a listener, or one upstream socket.
func (c *Config) checkAdopted(left []Socket, a *adopted) (n int, err error) {
	first := left[0]
	switch {
	case first.Shard < 0 || first.Shard >= c.Shards:
		return 0, fmt.Errorf("%s: there are %d shards", first, c.Shards)
	case first.Kind == SocketUpstream && first.Index != len(a.upstreams[first.Shard]):
		return 0, fmt.Errorf("%s: number %d is expected", first, len(a.upstreams[first.Shard]))
	case first.Kind == SocketUpstream && first.Index < endpointLimit:
		return 1, nil
	case first.Kind != SocketFront || first.Index < 0 || first.Index >= endpointLimit:
		return 0, fmt.Errorf("%s: unknown kind or index", first)
	case first.Index < len(a.fronts):
		return 0, fmt.Errorf("%s: its index is there twice", first)
	case len(left) < c.Shards:
		return 0, fmt.Errorf("%s: %d shards need as many", first, c.Shards)
	}
	for k := range c.Shards {
		if one := left[k]; one.Kind != first.Kind || one.Index != first.Index || one.Shard != k || one.Addr != first.Addr {
			return 0, fmt.Errorf("%s follows %s: %d shards need as many of one address", one, first, c.Shards)
		}
	}
	return c.Shards, nil
}

// take adopts what checkAdopted has checked.
func (a *adopted) take(next []Socket, c *Config) error {
	first := next[0]
	if first.Kind == SocketUpstream {
		sock, err := udp.AdoptBack(first.FD, first.Addr, c.Sockets)
		if err != nil {
			return err
		}
		a.upstreams[first.Shard] = append(a.upstreams[first.Shard], sock)
		return nil
	}
	var fds []int
	for _, k := range next {
		fds = append(fds, k.FD)
	}
	group, err := udp.AdoptFront(fds, first.Addr, c.Sockets)
	if err != nil {
		return err
	}
	for len(a.fronts) < first.Index {
		a.fronts = append(a.fronts, nil)
	}
	a.fronts = append(a.fronts, group)
	return nil
}

func (a *adopted) close() {
	for _, group := range slices.Concat(a.fronts, a.upstreams) {
		for _, sock := range group {
			_ = sock.Close()
		}
	}
}

// haveGRO reports whether trains may arrive at any of the sockets.
func (a *adopted) haveGRO() bool {
	for _, group := range slices.Concat(a.fronts, a.upstreams) {
		if slices.ContainsFunc(group, (*udp.Socket).HasGRO) {
			return true
		}
	}
	return false
}

// Settle says that the process that the sockets were taken over from is gone: the options of
// the sockets become those of Config.Sockets. Until then that process might have to go on with
// its own. Options.Steer is that of the sockets for as long as they are open: a change would
// move running flows to other shards.
func (g *Group) Settle() {
	for _, s := range g.shards {
		s.inbox.postAlways(func(s *Shard) {
			s.configureSockets()
			if s.id == 0 {
				g.noteBuffers()
			}
		})
	}
}

// noteBuffers notes the buffers of the first front socket. Only the loop of shard 0 calls it
// once the loops run.
func (g *Group) noteBuffers() {
	for _, ep := range g.shards[0].fronts {
		if !ep.closed {
			recv, send := ep.sock.GrantedBuffers()
			g.grantedRecv.Store(int64(recv))
			g.grantedSend.Store(int64(send))
			return
		}
	}
}

// configureSockets sets the options of the adopted sockets.
func (s *Shard) configureSockets() {
	s.eachEndpoint(func(ep *endpoint, _ int) {
		switch {
		case !ep.adopted:
		case ep.side == sideFront:
			ep.sock.Configure(s.cfg.Sockets)
		default:
			ep.sock.Configure(s.upstreamOptions())
		}
		ep.adopted = false
	})
}
