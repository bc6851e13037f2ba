package shard

import (
	"testing"
	"time"

	"srtrelay/wire"
)

func TestRatesPerBackend(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(ratesEvery)
	for range 10 {
		r.send(r.caller, packet(backendID, 1000))
		r.reply(upstream, packet(callerID, 250))
	}
	r.pass(ratesEvery)
	got := (*r.peers.rates.Load())["b1"]
	// 12,500 bytes in a little over a second of the test's time.
	if got > 100_000 || got < 50_000 {
		t.Errorf("%.0f bit/s, want nearly 100000", got)
	}
	if due, ok := r.nextDue(); !ok || due > r.now+ratesEvery {
		t.Error("nothing wakes an idle loop for the next sum")
	}
	r.pass(ratesEvery)
	if got := (*r.peers.rates.Load())["b1"]; got != 0 {
		t.Errorf("%.0f bit/s without traffic", got)
	}
	r.reply(upstream, wire.AppendShutdown(nil, 0, callerID))
	r.pass(tombstoneTTL + time.Second)
	r.pass(ratesEvery)
	if n := len(*r.peers.rates.Load()); n != 0 {
		t.Errorf("%d backends without sessions still have a rate", n)
	}
	for _, p := range r.peers.slots {
		if p != nil {
			t.Error("a slot is not freed")
		}
	}
}
