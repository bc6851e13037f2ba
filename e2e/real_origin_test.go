//go:build linux

package e2e

import (
	"bytes"
	"testing"
	"time"
)

// Two players and the publisher of a stream reach one of two origins, and another stream
// goes to the other one. A player that is there from the start gets all that the publisher
// sends; one that comes later, all from then on.
func TestRealPlayersMeetTheirPublisher(t *testing.T) {
	t.Parallel()
	const resource, other = "live/meeting", "live/elsewhere"
	flags := []string{"-l", "400", "-p", passphrase, "-k", "32"}
	origins := []*origin{startOrigin(t, "127.0.0.1", flags...), startOrigin(t, "127.0.0.1", flags...)}
	r := startRelay(t, "--shards", "2", backendAt(origins[0].addr), backendAt(origins[1].addr))
	secret := []string{"latency=400", "passphrase=" + passphrase}

	early := livePlay(t, r, resource, secret...)
	elsewhere := livePublish(t, r.addr, other, secret...)
	pub := livePublish(t, r.addr, resource, secret...)

	first, second := noise(1, 600), noise(2, 600)
	must(t, pub.feed(first, 2*time.Second))
	late := livePlay(t, r, resource, secret...)
	home := origins[0]
	if r.home(resource) == origins[1].addr.String() {
		home = origins[1]
	}
	for _, l := range r.begun(resource) {
		if got := l.text("backend"); got != home.addr.String() {
			t.Errorf("a %s of %s went to %s, the others to %v", l.text("role"), resource, got, home.addr)
		}
	}
	if got := r.home(other); got == home.addr.String() {
		t.Errorf("both streams went to %s, the other origin is idle", got)
	}
	// The late player's half: the origin must know it before it is sent.
	home.awaitLine("accepted", func(map[string]string) bool { return len(home.lines("accepted")) == 3 })
	must(t, pub.feed(second, 2*time.Second))
	sent := append(first, second...)

	if got := home.awaitReceived(resource, len(sent)); !bytes.Equal(got, sent) {
		t.Errorf("origin: %s", differ(sent, got))
	}
	early.stdout.awaitSize(patience, len(sent))
	if why := differ(sent, early.stdout.bytes()); why != "" {
		t.Errorf("early player: %s", why)
	}
	tail := func(got []byte) bool { return len(got) >= len(second) && bytes.HasSuffix(sent, got) }
	if !late.stdout.await(patience, tail) {
		t.Errorf("late player: %d bytes that are no end of the %d sent", late.stdout.size(), len(sent))
	}
	// The origin ends its players after the publisher; the relay forgets all.
	for _, p := range []*program{pub, elsewhere} {
		p.stop()
	}
	home.closed("player", resource)
	for _, p := range []*program{early, late} {
		p.stop()
	}
	r.awaitEmpty()
}
