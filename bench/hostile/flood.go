//go:build linux

package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/lab"
	"srtrelay/bench/rig"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// sources are the addresses of a flood: consecutive ones, each with the same ports.
type sources struct {
	first     netip.Addr
	addresses int
	ports     int
}

var (
	oneSource   = sources{netip.MustParseAddr("10.80.0.1"), 1, 64}
	manySources = sources{netip.MustParseAddr("10.80.0.1"), 10_000, 1}
	// floodNet holds all of them. The callers' host has it, so that answers come back.
	floodNet = "10.80.0.0/16"
)

const (
	// floodPort is the first port of a source. No other socket gets one of floodPorts.
	floodPort  = 5000
	floodPorts = "5000-5063"
	// floodFor is how long a flood lasts.
	floodFor = 10 * time.Second
	// floodBurst is how many datagrams are sent before answers are read.
	floodBurst = 256
	// connectRate is CONCLUSIONs with good cookies per second. They make work for the servers,
	// which share the machine with the relay.
	connectRate = 200
	// connectsMost is how many of 100 connects of honest callers may fail.
	connectsMost = 1

	ipHeader  = 20
	udpHeader = 8
)

// flooder sends a flood. One goroutine uses it.
type flooder struct {
	*srttest.Fuzzer
	from    sources
	raw     int // a raw socket
	out     *socket.Outbox
	to      socket.Address
	back    []int             // sockets of the ports, which get the answers
	pool    []fromSource      // what is sent, again and again
	cookies map[uint32]uint32 // good ones, by source
	clock   *socket.Clock
	in      *socket.Receiver

	sent, sentBytes, answers, answerBytes, concluded uint64
}

// fromSource is a datagram of one source.
type fromSource struct {
	source  uint32
	payload []byte
}

// floodPool is how many datagrams there are: making them takes longer than sending them.
const floodPool = 1 << 16

// openFlooder opens the sockets in the callers' namespace.
func openFlooder(ctx context.Context, l *lab.Lab, seed uint64, from sources) (f *flooder, err error) {
	clock := socket.NewClock()
	f = &flooder{
		Fuzzer: srttest.NewFuzzer(seed, 256), from: from, raw: -1, cookies: map[uint32]uint32{},
		to: socket.AddressOf(netip.AddrPortFrom(rigAddr, 0)), clock: clock, in: socket.NewReceiver(clock, false, false),
	}
	f.ID = func() uint32 { return f.Uint32() | 1 }
	for range floodPool {
		source := uint32(f.IntN(from.addresses * from.ports))
		f.pool = append(f.pool, fromSource{source, f.datagram(source)})
	}
	// In a later phase the routes exist already.
	_, _ = l.Callers.Run(ctx, "ip", "route", "add", "local", floodNet, "dev", "lo")
	_, _ = l.Origin.Run(ctx, "ip", "route", "add", floodNet, "via", lab.CallersAddr.String())
	err = l.Callers.Do(func() (err error) {
		// IPPROTO_RAW implies IP_HDRINCL (raw(7)).
		if f.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
			return fmt.Errorf("open raw socket: %w", err)
		}
		for port := range from.ports {
			fd, err := socket.Open(socket.Options{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(floodPort+port)), Buffer: 4 << 20})
			if err != nil {
				return err
			}
			f.back = append(f.back, fd)
		}
		return nil
	})
	if err == nil {
		f.out = socket.NewOutbox(f.raw, clock, 0)
	}
	return f, err
}

func (f *flooder) close() {
	for _, fd := range append(f.back, f.raw) {
		_ = unix.Close(fd)
	}
}

// run floods until the end, or until ctx ends.
func (f *flooder) run(ctx context.Context, end time.Time) {
	begun := time.Now()
	for now := begun; now.Before(end) && ctx.Err() == nil; now = time.Now() {
		for range floodBurst {
			d := &f.pool[f.sent%floodPool]
			if len(d.payload) >= wire.HeaderSize {
				// A relay drops what is the same as a moment ago.
				wire.Packet(d.payload).SetTimestamp(uint32(f.sent))
			}
			f.put(d.source, d.payload)
		}
		// Good cookies are few, so those sources are chosen that have one.
		for source, cookie := range f.cookies {
			if float64(f.concluded) >= now.Sub(begun).Seconds()*connectRate {
				break
			}
			f.concluded++
			delete(f.cookies, source)
			f.put(source, f.conclusion(source, cookie))
		}
		f.out.Flush()
		f.read()
		runtime.Gosched()
	}
}

// datagram is one of a flood: an INDUCTION, a CONCLUSION with a guessed cookie, a data or
// control packet, or noise.
func (f *flooder) datagram(source uint32) []byte {
	switch f.IntN(8) {
	case 0, 1, 2:
		return srt.AppendInduction(nil, f.socketID(source), f.Uint32()&srt.MaxSequence, rigAddr)
	case 3, 4, 5:
		return f.conclusion(source, f.Uint32())
	case 6:
		return f.Control()
	}
	return f.Noise()
}

// conclusion asks for a stream that no server has, so that no session stays.
func (f *flooder) conclusion(source, cookie uint32) []byte {
	return srt.AppendConclusion(nil, f.socketID(source), f.Uint32()&srt.MaxSequence, cookie, rigAddr, "#!::r=live/flood,m=publish,pps=none")
}

// sourceBits of a socket ID tell the source: an answer bears no other mark of it.
const sourceBits = 14

func (f *flooder) socketID(source uint32) uint32 {
	return (f.Uint32()<<sourceBits|source)&^(1<<31) | 1<<30
}

// put queues a datagram of a source.
func (f *flooder) put(source uint32, payload []byte) {
	b := f.out.Next()
	clear(b[:ipHeader+udpHeader])
	b[0], b[8], b[9] = 4<<4|ipHeader/4, 64, unix.IPPROTO_UDP
	address := f.from.first.As4()
	binary.BigEndian.PutUint32(address[:], binary.BigEndian.Uint32(address[:])+source%uint32(f.from.addresses))
	to := rigAddr.As4()
	copy(b[12:], address[:])
	copy(b[16:], to[:])
	udp := b[ipHeader:]
	binary.BigEndian.PutUint16(udp, uint16(floodPort+source/uint32(f.from.addresses)))
	binary.BigEndian.PutUint16(udp[2:], rig.Front.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+len(payload)))
	f.out.Put(ipHeader+udpHeader+copy(udp[udpHeader:], payload), &f.to)
	f.sent++
	f.sentBytes += uint64(len(payload))
}

// read counts what came back, and keeps the cookies.
func (f *flooder) read() {
	for _, fd := range f.back {
		for n := socket.ReceiveMessages; n == socket.ReceiveMessages; {
			n = f.in.Receive(fd)
			for i := range n {
				b, _, _ := f.in.Message(i)
				f.answers++
				f.answerBytes += uint64(len(b))
				h, ok := wire.AsHandshake(b)
				if ok && h.Type() == wire.HandshakeInduction && len(f.cookies) < 1024 {
					f.cookies[h.Packet().DestID()&(1<<sourceBits-1)] = h.Cookie()
				}
			}
		}
	}
}

// flood floods the relay's listener. Running sessions lose nothing, and honest callers connect.
func (r *run) flood(ctx context.Context, from sources) error {
	f, err := openFlooder(ctx, r.lab, r.options.Seed, from)
	defer f.close()
	if err != nil {
		return err
	}
	before, err := r.load()
	if err != nil {
		return err
	}
	counts := r.rig.Callers.Counts()
	begun := time.Now()
	f.run(ctx, begun.Add(r.options.hold(floodFor)))
	took := time.Since(begun)
	after, err := r.load()
	if err != nil {
		return err
	}
	unsent := f.out.TakeUnsent()
	r.figure("%d datagrams in %.1f s, %.0f per second (%d not sent); %d answers, reflection of %.3f bytes per byte; %d CONCLUSIONs with good cookies",
		f.sent, took.Seconds(), float64(f.sent)/took.Seconds(), unsent, f.answers, float64(f.answerBytes)/float64(max(f.sentBytes, 1)), f.concluded)
	r.figure("%s", after.since(before))
	// What was begun in the flood ends behind it.
	if err := rig.Pause(ctx, 4*time.Second); err != nil {
		return err
	}
	tried, failed, codes := r.connects(counts)
	r.figure("honest callers: %d of %d connected, rejected: %s; %s", tried-failed, tried, codes, waits(r.rig.Callers.Waits()))
	switch {
	case tried == 0:
		return errors.New("no honest caller tried to connect")
	case failed*100 > tried*connectsMost:
		return fmt.Errorf("%d of %d honest connects failed", failed, tried)
	case f.answerBytes >= reflectionMost*f.sentBytes:
		return fmt.Errorf("the relay reflects %d bytes for %d", f.answerBytes, f.sentBytes)
	}
	return nil
}
