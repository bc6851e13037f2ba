//go:build linux

package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/lab"
	"srtrelay/bench/rig"
	"srtrelay/bench/socket"
	"srtrelay/wire"
)

var (
	rigAddr = rig.Front.Addr()
	// attackers are addresses of the callers' network that no caller has.
	attackers = []netip.Addr{
		netip.MustParseAddr("10.77.0.11"), netip.MustParseAddr("10.77.0.12"), netip.MustParseAddr("10.77.0.13"), netip.MustParseAddr("10.77.0.14"),
	}
	// impostor is an address of the servers' host that no server has.
	impostor = netip.MustParseAddr("10.77.0.21")
)

const (
	// perAddress is the ports that an attacker sends from.
	perAddress = 16
	// attackRate is hostile datagrams per second: many, but few enough that the relay
	// drops them by decision and not for lack of CPU.
	attackRate = 25_000
	// attackTick is the time between two bursts.
	attackTick = 2 * time.Millisecond
	// cookieEvery is how often attackers ask for good cookies.
	cookieEvery = 5 * time.Second
)

// attacks returns the phases with an attack.
func (r *run) attacks() []step {
	return []step{
		{"hostile datagrams", fmt.Sprintf("%d malformed and forged datagrams to all of the relay's ports", r.options.Datagrams), nothing, r.attack},
		{"hijack", fmt.Sprintf("%d datagrams that only lack the right address", r.options.Datagrams), nothing, r.hijack},
		{"flood, one source", "INDUCTIONs, CONCLUSIONs and noise from one address, as fast as a core sends; one server is slow and one dead", connects, func(ctx context.Context) error {
			return r.amongFaults(ctx, func(ctx context.Context) error { return r.flood(ctx, oneSource) })
		}},
		{"flood, many sources", fmt.Sprintf("the same from %d addresses", manySources.addresses), connects, func(ctx context.Context) error {
			return r.amongFaults(ctx, func(ctx context.Context) error { return r.flood(ctx, manySources) })
		}},
		{"API abuse", "half-open connections, slow readers, endless bodies", nothing, r.abuse},
	}
}

// attacker is the sockets of all attackers.
type attacker struct {
	front, back []int
	upstream    []netip.AddrPort
}

func (a *attacker) close() {
	for _, fd := range append(a.front, a.back...) {
		_ = unix.Close(fd)
	}
}

// openAttacker gives the attackers their addresses and sockets.
func (r *run) openAttacker(ctx context.Context) (a *attacker, err error) {
	a = &attacker{}
	open := func(n *lab.Namespace, ip netip.Addr, ports int, to *[]int) error {
		// In a later phase it exists already.
		_, _ = n.Run(ctx, "ip", "addr", "add", ip.String()+"/24", "dev", "veth0")
		return n.Do(func() error {
			for range ports {
				fd, err := socket.Open(socket.Options{Local: netip.AddrPortFrom(ip, 0), Buffer: 1 << 18})
				if err != nil {
					return err
				}
				*to = append(*to, fd)
			}
			return nil
		})
	}
	for _, ip := range attackers {
		if err := open(r.lab.Callers, ip, perAddress, &a.front); err != nil {
			return a, err
		}
	}
	ports, err := r.rig.UpstreamPorts()
	if err != nil {
		return a, err
	}
	if err := open(r.lab.Origin, impostor, perAddress, &a.back); err != nil {
		return a, err
	}
	for _, p := range ports {
		a.upstream = append(a.upstream, netip.AddrPortFrom(lab.OriginAddr, uint16(p)))
	}
	return a, nil
}

// attack sends the hostile datagrams.
func (r *run) attack(ctx context.Context) error {
	a, err := r.openAttacker(ctx)
	defer a.close()
	if err != nil {
		return err
	}
	f := newForge(r.options.Seed, r.rig.Callers.Pairs())
	front := &unix.SockaddrInet4{Port: int(rig.Front.Port()), Addr: rigAddr.As4()}
	tick := time.NewTicker(attackTick)
	defer tick.Stop()
	var asked time.Time
	sent, unsent := 0, 0
	for begun := time.Now(); sent+unsent < r.options.Datagrams; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if time.Since(asked) > cookieEvery {
			asked = time.Now()
			f.victims = r.rig.Callers.Pairs()
			f.ask(a, front)
		}
		f.listen(a)
		due := int(time.Since(begun).Seconds() * attackRate)
		for range min(due-sent-unsent, 256, r.options.Datagrams-sent-unsent) {
			err := error(nil)
			if f.IntN(4) == 0 && len(a.upstream) > 0 {
				to := a.upstream[f.IntN(len(a.upstream))]
				err = unix.Sendto(a.back[f.IntN(len(a.back))], f.ToUpstream(), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
			} else {
				err = unix.Sendto(a.front[f.IntN(len(a.front))], f.ToListener(f.request), 0, front)
			}
			if err != nil {
				unsent++
				continue
			}
			sent++
		}
	}
	r.say.line("  %d hostile datagrams sent, %d refused by the kernel", sent, unsent)
	return nil
}

// ask sends an INDUCTION from each socket, to get a cookie.
func (f *forge) ask(a *attacker, front unix.Sockaddr) {
	f.cookies = f.cookies[:0]
	for _, fd := range a.front {
		b := make([]byte, wire.HandshakeSize)
		wire.PutControl(b, wire.TypeHandshake, 0, 0)
		h, _ := wire.AsHandshake(b)
		h.SetVersion(4)
		h.SetExtension(2)
		h.SetType(wire.HandshakeInduction)
		h.SetSocketID(f.Uint32()>>2 | 1)
		h.SetMSS(1500)
		h.SetFlowWindow(8192)
		_ = unix.Sendto(fd, b, 0, front)
	}
}

// listen reads the cookies from the relay's answers.
func (f *forge) listen(a *attacker) {
	b := make([]byte, 2048)
	for _, fd := range a.front {
		for {
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			if h, ok := wire.AsHandshake(b[:n]); ok && h.Type() == wire.HandshakeInduction && len(f.cookies) < 1024 {
				f.cookies = append(f.cookies, h.Cookie())
			}
		}
	}
}

const (
	// halfOpen is how many connections are open, of which half never send a whole request.
	halfOpen = 300
	// honestEvery is the interval of an operator's requests meanwhile.
	honestEvery = 2 * time.Second
)

// abuse keeps useless connections to the API open, and makes an operator's requests
// meanwhile.
func (r *run) abuse(ctx context.Context) error {
	api := r.rig.Relay.API
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	dialled, refused := 0, 0
	for i := range halfOpen {
		conn, err := api.Dial()
		if err != nil {
			refused++
			continue
		}
		dialled++
		held = append(held, conn)
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		switch i % 6 {
		case 0: // nothing at all
		case 1:
			_, _ = io.WriteString(conn, "GET /api/v1/streams HT")
		case 2: // asks for much, and reads nothing
			_, _ = io.WriteString(conn, "GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n")
		case 3:
			_, _ = io.WriteString(conn, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		case 4:
			_, _ = io.WriteString(conn, "POST /api/v1/srs/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{")
		case 5:
			_, _ = io.WriteString(conn, "GET /api/v1/capture?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	r.say.line("  %d connections held, %d refused", dialled, refused)
	answered, unanswered := 0, 0
	for end := time.Now().Add(r.options.hold(24 * time.Second)); time.Now().Before(end); {
		if err := rig.Pause(ctx, r.options.hold(honestEvery)); err != nil {
			return err
		}
		if _, err := api.Get("/live"); err != nil {
			unanswered++
			continue
		}
		answered++
	}
	for _, c := range held {
		_ = c.Close()
	}
	held = nil
	if err := rig.Await(ctx, 20*time.Second, "the API answers after the abuse", func() bool { _, err := api.Get("/ready"); return err == nil }); err != nil {
		return err
	}
	if answered == 0 {
		return errors.New("the API answered nobody while it was abused")
	}
	r.say.line("  of an operator's questions meanwhile %d were answered, %d not", answered, unanswered)
	return nil
}
