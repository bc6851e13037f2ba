package kernelpath

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"
)

// A router drops an IPv6 datagram that is too long for the next link, and says so (Packet Too
// Big, RFC 8201). The kernel then knows the path's MTU by the route to the address, but sends no
// notice of that. It counts the messages.

const (
	// tooBigEvery is how often the count is read.
	tooBigEvery = time.Second
	// tooBigShare bounds the time for resolving routes again, as anybody may send such messages:
	// so many times as long passes before the next time.
	tooBigShare = 50
)

// tooBig follows the messages.
type tooBig struct {
	count uint64
	next  time.Time
}

// came reports whether messages have come that were not handled.
func (t *tooBig) came(now time.Time) bool {
	if now.Before(t.next) {
		return false
	}
	before := t.count
	t.read()
	return t.count != before
}

// read reads the count, which stays as it is on a host without IPv6.
func (t *tooBig) read() {
	const name = "Icmp6InPktTooBigs"
	text, err := os.ReadFile("/proc/thread-self/net/snmp6")
	if err != nil {
		return
	}
	_, rest, _ := bytes.Cut(text, []byte(name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 64); err == nil {
		t.count = n
	}
}

// onTooBig has the MTUs of IPv6 paths resolved again. Datagrams pass meanwhile: those that are
// too long are lost already.
func (p *Path) onTooBig(ctx context.Context, t *tooBig, reroute func(context.Context) error) {
	began := time.Now()
	p.paths.Add(1)
	p.callReroute(ctx, reroute)
	t.next = time.Now().Add(tooBigShare * time.Since(began))
}
