package shard

import (
	"context"
	"errors"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/shard/relays"
)

// passing is a rig whose foreign datagrams are all of a session of another relay.
type passing struct {
	*rig
	asked chan struct{} // an element lets one question have its answer
}

func newPassing(t *testing.T, found *relays.Owner) *passing {
	t.Helper()
	asked := make(chan struct{})
	link := relays.New(relays.Options{
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
	r := newRig(t, func(c *Config) { c.Relays = link })
	link.Start(func(relays.Datagram) (relays.Counter, bool) { return 0, true })
	t.Cleanup(link.Close)
	return &passing{r, asked}
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
