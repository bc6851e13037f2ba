//go:build linux

package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"

	"srtrelay/bench/pace"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
)

// open opens the ports of a load. It sends nothing.
func open(c Config, targets []netip.AddrPort) (*Load, error) {
	clock := socket.NewClock()
	ready, err := socket.NewReady()
	if err != nil {
		return nil, err
	}
	l := &Load{
		config: c, clock: clock, ready: ready, receiver: socket.NewReceiver(clock, false, false),
		sessions: make([]session, c.Sessions), book: tally.NewBook(),
		buffer: make([]byte, bufferSize), payload: make([]byte, c.Train*srt.DataSize),
		base: firstID + rand.Uint32N(idRange), begun: clock.Now(),
	}
	l.now = l.begun
	l.round = pace.NewRound(int64(c.Keepalive), l.now)
	fill(l.payload)
	if c.Mode == Flood {
		l.flood, err = newFlood(l, targets[0])
		return l, errors.Join(err, l.closeIf(err))
	}
	err = l.openPorts(targets)
	l.prepare()
	return l, errors.Join(err, l.closeIf(err))
}

func (l *Load) closeIf(err error) error {
	if err == nil {
		return nil
	}
	return l.close()
}

// fill fills a payload with bytes that cannot be compressed.
func fill(b []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func (l *Load) openPorts(targets []netip.AddrPort) error {
	n := min(l.config.Ports, l.config.Sessions)
	if limit := socket.Raise(); uint64(n+spareFiles) > limit {
		return fmt.Errorf("-ports: %d: only %d files may be open (ulimit -n)", n, limit)
	}
	local, err := l.config.local()
	if err != nil {
		return err
	}
	segment := 0
	if l.config.Train > 1 {
		segment = srt.DataSize
	}
	for i := range n {
		to := targets[targetOf(i, len(targets))]
		fd, err := socket.Open(socket.Options{Local: local, Remote: to, Buffer: l.config.Buffer, Segment: segment})
		if err != nil {
			return err
		}
		l.ports = append(l.ports, port{fd: fd, peer: to})
		if err := l.ready.Add(fd, i); err != nil {
			return err
		}
	}
	return nil
}

// prepare gives every session its port and its role.
func (l *Load) prepare() {
	n := len(l.sessions)
	for i := range l.sessions {
		s := &l.sessions[i]
		s.port = uint16(i % max(len(l.ports), 1))
		// The first ID that begin gives it is base+i.
		s.id = l.base + uint32(i) - uint32(n)
		s.play = isPlayer(i, l.config.Players)
		if !s.play {
			l.publishers = append(l.publishers, uint32(i))
		}
	}
	l.plan = pace.New(l.config.Rate*float64(len(l.publishers))/float64(n)/float64(l.config.Train), len(l.publishers))
	c := &l.connector
	c.limit = l.config.InFlight
	rate := l.config.ConnectRate
	if l.config.Mode == Connects {
		rate = l.config.Rate
		c.limit = min(c.limit, n)
	}
	c.unpaced, c.plan = rate == 0, pace.New(rate, 1)
	for i := n - 1; i >= 0; i-- {
		c.free = append(c.free, uint32(i))
	}
}

func (l *Load) close() error {
	err := l.ready.Close()
	for _, p := range l.ports {
		err = errors.Join(err, unix.Close(p.fd))
	}
	if l.path != nil {
		err = errors.Join(err, l.path.Close())
	}
	return errors.Join(err, l.flood.close())
}
