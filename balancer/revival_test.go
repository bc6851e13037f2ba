package balancer

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"srtrelay/backend"
)

// dead is a balancer whose only backend is down until it is revived.
type dead struct {
	alive atomic.Bool
	picks atomic.Int64
}

func (d *dead) Pick(context.Context, backend.Query) (backend.Target, error) {
	d.picks.Add(1)
	if d.alive.Load() {
		return backend.Target{ID: "b"}, nil
	}
	return backend.Target{}, backend.ErrNone
}

func (*dead) Report(backend.Outcome) {}

// A thousand callers whom no backend can take cause one round of probes, and
// all reach the backend that answers it.
func TestRefusedCallersShareOneRoundOfProbes(t *testing.T) {
	b := new(dead)
	began, let := make(chan struct{}, 100), make(chan struct{})
	var rounds atomic.Int64
	r := NewResolver(b, func(backend.ID, bool) {}, func(context.Context) bool {
		rounds.Add(1)
		began <- struct{}{}
		<-let
		b.alive.Store(true)
		return true
	}, nil)
	defer r.Close()
	const callers = 1000
	answers := make(chan answer, callers)
	for range callers {
		if !r.Resolve(backend.Query{Key: "k"}, into(answers, true)) {
			t.Fatal("refused by an idle resolver")
		}
	}
	within(t, "a round", began)
	for b.picks.Load() < callers { // the workers do not wait for the round
		select {
		case got := <-answers:
			t.Fatalf("answered before the round was over: %+v", got)
		default:
		}
	}
	close(let)
	for range callers {
		if got := within(t, "answer", answers); got.err != nil || got.t.ID != "b" {
			t.Fatalf("%+v", got)
		}
	}
	if n := rounds.Load(); n > 2 { // a second one for who is kept as the first ends
		t.Errorf("%d rounds", n)
	}
}

// When nobody answers, each caller is refused after the one round that began
// after it came.
func TestRefusedWhenNobodyAnswers(t *testing.T) {
	b := new(dead)
	began, let := make(chan struct{}, 100), make(chan struct{})
	r := NewResolver(b, func(backend.ID, bool) {}, func(ctx context.Context) bool {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("a round without end")
		}
		began <- struct{}{}
		<-let
		return false
	}, nil)
	defer r.Close()
	early, late := make(chan answer, 1), make(chan answer, 1)
	r.Resolve(backend.Query{Key: "early"}, into(early, true))
	within(t, "the first round", began)
	r.Resolve(backend.Query{Key: "late"}, into(late, true))
	for r.revival.count() < 2 {
	}
	let <- struct{}{}
	if got := within(t, "answer", early); !errors.Is(got.err, backend.ErrNone) {
		t.Errorf("%+v", got)
	}
	within(t, "the second round", began)
	select {
	case got := <-late:
		t.Errorf("answered by a round that began before: %+v", got)
	default:
	}
	close(let)
	if got := within(t, "answer", late); !errors.Is(got.err, backend.ErrNone) {
		t.Errorf("%+v", got)
	}
	if n := b.picks.Load(); n != 4 {
		t.Errorf("%d picks for two callers", n)
	}
}

// Whom another reason keeps from a backend is refused at once.
func TestNoRoundForOtherRefusals(t *testing.T) {
	b := newSlow(nil)
	b.fail = backend.ErrNoStream
	r := NewResolver(b, func(backend.ID, bool) {}, func(context.Context) bool {
		t.Error("asked for a player of a stream that is not there")
		return false
	}, nil)
	answers := make(chan answer, 1)
	r.Resolve(backend.Query{}, into(answers, true))
	if got := within(t, "answer", answers); !errors.Is(got.err, backend.ErrNoStream) {
		t.Errorf("%+v", got)
	}
	r.Close()
}
