package shard

import (
	"context"
	"errors"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/shard/migration"
	"srtrelay/shard/relays"
)

// passing is a rig whose foreign datagrams are all of a session of another relay.
type passing struct {
	*rig
	asked chan struct{} // an element lets one question have its answer
}

func newPassing(t *testing.T, found *relays.Owner, change ...func(*Config)) *passing {
	t.Helper()
	link, asked := newAskedLink(t, found)
	return &passing{newRig(t, append(change, func(c *Config) { c.Relays = link })...), asked}
}

// newAskedLink returns a link whose questions all have one answer, nil for none, each once the
// test says so.
func newAskedLink(t *testing.T, found *relays.Owner) (link *relays.Link, asked chan struct{}) {
	asked = make(chan struct{})
	link = relays.New(relays.Options{
		Secrets: new(handshake.SharedSecrets),
		Directory: func(ctx context.Context, flows []relays.Flow) ([]relays.Owner, error) {
			select {
			case <-asked:
			case <-ctx.Done():
			}
			if found == nil {
				return nil, errors.New("away")
			}
			all := make([]relays.Owner, len(flows))
			for i := range all {
				all[i] = *found
			}
			return all, nil
		},
	})
	link.Start(func(relays.Datagram) (relays.Counter, bool) { return 0, true })
	t.Cleanup(link.Close)
	return link, asked
}

// answer has the question about a flow answered, and the loop hear of it.
func (r *passing) answer() {
	r.t.Helper()
	select {
	case r.asked <- struct{}{}:
	case <-time.After(5 * time.Second):
		r.t.Fatal("nobody was asked")
	}
	for deadline := time.Now().Add(5 * time.Second); !r.inbox.hasTasks.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("no answer")
		}
	}
	r.runTasks()
}

// A datagram of another relay's session is passed on; one of a session of this relay never
// gets that far.
func TestPassOn(t *testing.T) {
	r := newPassing(t, &relays.Owner{At: addr.From(addrOf(newRig(t).caller)), Exact: true})
	r.establish(r.caller, callerID, callerISN, backendID)
	foreign := r.dialFront()
	r.send(foreign, packet(0x7777, 100))
	r.answer()
	r.send(foreign, packet(0x7777, 100))
	r.send(r.caller, packet(backendID, 100))
	r.counters.publish()
	if r.count(CountPassedOn) != 2 || r.count(DropForeignCaller) != 0 || r.cfg.Relays.Stats()[relays.CountLookups] != 1 {
		t.Errorf("counters %v, %v", r.nonzero(), r.cfg.Relays.Stats())
	}
	r.receive(r.backend)
}

// Without an owner, or without Redis, a foreign datagram is dropped as ever.
func TestNobodyToPassOnTo(t *testing.T) {
	for name, owner := range map[string]*relays.Owner{"nobody": {}, "away": nil} {
		t.Run(name, func(t *testing.T) {
			r := newPassing(t, owner)
			foreign := r.dialFront()
			r.send(foreign, packet(0x7777, 100))
			r.answer()
			r.send(foreign, packet(0x7777, 100))
			r.counters.publish()
			if r.count(CountPassedOn) != 1 || r.count(DropForeignCaller) != 1 || r.cfg.Relays.Stats()[relays.DropUnowned] != 1 {
				t.Errorf("counters %v, %v", r.nonzero(), r.cfg.Relays.Stats())
			}
		})
	}
}

// A session of another relay may have the socket ID of one of this relay, whether its caller has
// moved or not: its datagrams are passed on, without the budget of those that may be of the
// session here.
func TestPassOnWithTheIDOfASessionHere(t *testing.T) {
	for _, follows := range []bool{false, true} {
		r := newPassing(t, &relays.Owner{At: addr.From(addrOf(newRig(t).caller)), Exact: true}, func(c *Config) { c.Migration = follows })
		r.establish(r.caller, callerID, callerISN, backendID)
		r.pass(2 * time.Second)
		foreign, was := r.dialFront(), r.count(DropForeignCaller)
		r.send(foreign, packet(backendID, 100))
		r.answer()
		const many = 2 * migration.LimiterPerID
		for range many {
			r.send(foreign, packet(backendID, 100))
		}
		r.counters.publish()
		if r.count(CountPassedOn) != 1+many || r.count(DropForeignCaller) != was {
			t.Errorf("follows callers %v: counters %v, %v", follows, r.nonzero(), r.cfg.Relays.Stats())
		}
		r.send(r.caller, packet(backendID, 100))
		r.receive(r.backend)
	}
}

// The same if the session with that ID is on another shard: that one passes on what is not its
// session's. A datagram that came from another relay it drops.
func TestPassOnOfALetter(t *testing.T) {
	link, _ := newAskedLink(t, nil)
	p := newShardPair(t, func(c *Config) { c.Relays = link })
	before, other := p.count(CountPassedOn), packet(backendID, 100) // with the time of another clock
	p.write(other)
	p.write(other)
	if p.count(CountPassedOn) != before+2 || p.count(CountCandidates) != 0 {
		t.Errorf("counters %v and %v", p.nonzero(), nonzeroOf(p.second))
	}
	was := p.count(DropForeignCaller)
	if d := p.owner.Deliver(0, fromConn(p.from), addr.IP{}, other); d != Delivered {
		t.Errorf("Deliver: %v", d)
	}
	p.settleBoth()
	if p.count(CountPassedOn) != before+2 || p.count(DropForeignCaller) != was+1 {
		t.Errorf("counters %v", p.nonzero())
	}
	// The session here follows its caller as ever.
	p.passBoth(migration.LimiterPeriod)
	p.move()
}
