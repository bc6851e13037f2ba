package relays

import (
	"context"
	"errors"
	"net"
	"time"

	"srtrelay/addr"
)

// Deliver hands a datagram that another relay has passed on to a shard. If it returns false,
// drop says why.
type Deliver func(d Datagram) (drop Counter, ok bool)

// send seals and sends what is in the rings, until ctx ends.
func (l *Link) send(ctx context.Context) {
	keys := keyring{secrets: l.o.Secrets}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		conn, lanes := l.conn, l.lanes
		l.mu.Unlock()
		if conn == nil {
			continue
		}
		for again := true; again && ctx.Err() == nil; {
			again = false
			for _, lane := range lanes {
				again = l.sendBurst(conn, lane, &keys) || again
			}
		}
	}
}

// sendBurst sends some frames of a lane, and reports whether there are more. It reads the
// clock itself: while more come than can be sent, the bursts do not end.
func (l *Link) sendBurst(conn *net.UDPConn, lane *Lane, keys *keyring) (more bool) {
	if lane.ring.first() == nil {
		return false
	}
	all, s := keys.current(), stamp{sender: l.sender, time: time.Now().Unix()}
	for range sendBurst {
		one := lane.ring.first()
		if one == nil {
			return false
		}
		l.sequence++
		s.sequence = l.sequence
		size := uint64(one.dataBytes())
		if len(all) == 0 {
			l.counters.add(DropUnsent, 1)
		} else if _, err := conn.WriteToUDPAddrPort(all[0].seal(one.bytes[:one.length], s), one.owner.Netip()); err != nil {
			l.counters.add(DropUnsent, 1)
		} else {
			l.counters.add(CountSent, 1)
			l.counters.add(CountSentBytes, size)
		}
		lane.ring.pop()
	}
	return true
}

// receive opens what other relays send, until the socket is closed.
func (l *Link) receive(ctx context.Context, deliver Deliver) {
	keys := keyring{secrets: l.o.Secrets}
	at := addr.From(l.Addr())
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	b := make([]byte, targetSize+maxFrame+1)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b[targetSize:])
		switch {
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		case err != nil:
			time.Sleep(time.Millisecond) // an ICMP error of a former frame; never a busy loop
			continue
		}
		f, drop, ok := openFrame(b[:targetSize+n], at, keys.current())
		if ok {
			drop, ok = l.seen.accept(f.stamp, time.Now())
		}
		if ok {
			drop, ok = deliver(f.Datagram)
		}
		if !ok {
			l.counters.add(drop, 1)
			continue
		}
		l.counters.add(CountDelivered, 1)
	}
}
