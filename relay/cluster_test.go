package relay

import (
	"context"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/cluster"
)

// Without a shared state orders hold here, and there is no view of other relays.
func TestOrdersWithoutSharedState(t *testing.T) {
	r := parts(t, "--backend=10.0.0.1:10080")
	if known, shared := r.balancer.Drain(context.Background(), "10.0.0.1:10080", true); !known || shared != answer.SharedNot {
		t.Errorf("known %v, shared %q", known, shared)
	}
	if known, shared := r.balancer.Weight(context.Background(), "10.0.0.1:10080", 3); !known || shared != answer.SharedNot {
		t.Errorf("known %v, shared %q", known, shared)
	}
	if b, _ := r.registry.Snapshot().Find("10.0.0.1:10080"); !b.Draining || b.Share() != 3 {
		t.Errorf("%+v", b)
	}
	if known, _ := r.balancer.Drain(context.Background(), "nobody", true); known {
		t.Error("nobody is known")
	}
	if r.clusterView() != nil {
		t.Error("there is a view")
	}
}

// With one that is away, orders hold here and are pending.
func TestOrdersWhileSharedStateIsAway(t *testing.T) {
	r := parts(t, "--backend=10.0.0.1:10080", "--state=redis", "--redis=redis://127.0.0.1:1/0")
	defer r.balancer.close(false)
	if known, shared := r.balancer.Drain(context.Background(), "10.0.0.1:10080", true); !known || shared != answer.SharedPending {
		t.Errorf("known %v, shared %q", known, shared)
	}
	if known, shared := r.balancer.Weight(context.Background(), "10.0.0.1:10080", 3); !known || shared != answer.SharedPending {
		t.Errorf("known %v, shared %q", known, shared)
	}
}

func TestReportOf(t *testing.T) {
	now := time.Now()
	got := reportOf(&answer.Stream{
		Key: "k", Backend: answer.BackendRef{ID: "b", Address: "a"}, Sessions: 3, Publishers: 1, Players: 2, BitrateIn: 10.7, BitrateOut: -1, Since: now.Add(-time.Minute),
	}, now)
	if want := (cluster.Stream{Key: "k", Backend: "b", Address: "a", Sessions: 3, Publishers: 1, Players: 2, In: 10, Age: time.Minute}); got != want {
		t.Errorf("%+v", got)
	}
}
