//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/pace"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
)

const (
	ipHeader  = 20
	udpHeader = 8
	// floodBurst is how many CONCLUSIONs are sent before commands are read again.
	floodBurst = 512
	// floodPorts is how many ports are opened if the right to forge them is missing.
	floodPorts = 256
	// lowestPort is above the ports of services.
	lowestPort = 1024
)

// flood sends CONCLUSIONs with random cookies. Only the loop uses it.
type flood struct {
	load    *Load
	plan    pace.Plan
	target  netip.AddrPort
	to      socket.Address
	raw     *socket.Outbox // with IP headers; nil without the right to use it
	rawFD   int
	outs    []*socket.Outbox
	fds     []int
	packet  []byte // with room for the headers in front
	running bool
	sent    uint64
}

// newFlood opens a raw socket if it may, otherwise floodPorts ports.
func newFlood(l *Load, target netip.AddrPort) (*flood, error) {
	f := &flood{load: l, target: target, to: socket.AddressOf(target), rawFD: -1, plan: pace.New(l.config.Rate, 1)}
	f.packet = make([]byte, ipHeader+udpHeader, bufferSize)
	f.packet = srt.AppendConclusion(f.packet, 0, 0, 0, target.Addr(), srt.Request{Stream: l.config.Prefix + "/flood"}.StreamID())
	if l.config.Raw && target.Addr().Is4() {
		source, err := sourceOf(target)
		if err != nil {
			return f, err
		}
		if f.rawFD, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err == nil {
			f.raw = socket.NewOutbox(f.rawFD, l.clock, 0)
			f.headers(source)
			// A raw socket takes no port.
			f.to = socket.AddressOf(netip.AddrPortFrom(target.Addr(), 0))
			return f, nil
		}
		fmt.Fprintf(os.Stderr, "load: flood from %d ports, not from random ones: %v\n", floodPorts, err)
	}
	for range floodPorts {
		fd, err := socket.Open(socket.Options{Local: netip.AddrPortFrom(unspecified(target), 0), Buffer: l.config.Buffer})
		if err != nil {
			return f, err
		}
		f.fds = append(f.fds, fd)
		f.outs = append(f.outs, socket.NewOutbox(fd, l.clock, 0))
	}
	return f, nil
}

func unspecified(target netip.AddrPort) netip.Addr {
	if target.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// sourceOf is the address from which this host would send.
func sourceOf(target netip.AddrPort) (netip.Addr, error) {
	fd, err := socket.Open(socket.Options{Remote: target, Buffer: bufferSize})
	if err != nil {
		return netip.Addr{}, err
	}
	local, err := socket.Local(fd)
	return local.Addr(), errors.Join(err, unix.Close(fd))
}

// headers writes the IP and UDP headers once; the kernel fills in the IP
// checksum and ID, and UDP goes without one over IPv4.
func (f *flood) headers(source netip.Addr) {
	b := f.packet
	b[0] = 4<<4 | ipHeader/4
	b[8] = 64 // time to live
	b[9] = unix.IPPROTO_UDP
	from, to := source.As4(), f.target.Addr().As4()
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	udp := b[ipHeader:]
	binary.BigEndian.PutUint16(udp[2:], f.target.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(b)-ipHeader))
}

// turn sends what is due and waits for the next tick.
func (f *flood) turn(now int64) {
	tick := int64(f.load.config.Tick)
	switch {
	case !f.running:
		socket.Sleep(now + int64(time.Millisecond))
		return
	case f.load.config.Rate == 0:
		for range floodBurst {
			f.putConclusion()
		}
	default:
		for range floodBurst {
			if _, _, ok := f.plan.Next(now); !ok {
				break
			}
			f.putConclusion()
		}
	}
	f.flush()
	if f.load.config.Rate > 0 {
		socket.Pause(f.load.clock, now+tick)
		return
	}
	socket.Yield()
}

// putConclusion queues a CONCLUSION with another socket ID, ISN and cookie.
func (f *flood) putConclusion() {
	out, skip := f.raw, 0
	if out == nil {
		out, skip = f.outs[f.sent/socket.OutboxMessages%uint64(len(f.outs))], ipHeader+udpHeader
	} else {
		binary.BigEndian.PutUint16(f.packet[ipHeader:], uint16(lowestPort+rand.IntN(1<<16-lowestPort)))
	}
	h := f.packet[ipHeader+udpHeader:]
	binary.BigEndian.PutUint32(h[24:], rand.Uint32N(srt.MaxSequence))
	binary.BigEndian.PutUint32(h[40:], rand.Uint32())
	binary.BigEndian.PutUint32(h[44:], rand.Uint32())
	n := copy(out.Next(), f.packet[skip:])
	out.Put(n, &f.to)
	f.sent++
	f.load.book.Sent.Add(tally.Other, len(h))
}

func (f *flood) flush() {
	for _, o := range f.outs {
		o.Flush()
		f.load.book.Unsent += o.TakeUnsent()
	}
	if f.raw != nil {
		f.raw.Flush()
		f.load.book.Unsent += f.raw.TakeUnsent()
	}
}

func (f *flood) close() error {
	if f == nil {
		return nil
	}
	var err error
	if f.rawFD >= 0 {
		err = unix.Close(f.rawFD)
	}
	for _, fd := range f.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}
