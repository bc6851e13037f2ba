package shard

import (
	"testing"

	"srtrelay/observe/telemetry"
	"srtrelay/relay/overload"
)

// What passes in the kernel while sessions are not measured is neither lost nor counted
// twice; afterwards losses are seen as before.
func TestGapInTheKernelPath(t *testing.T) {
	enterNamespace(t)
	r := newKernelRig(t, nil)
	i, ss := r.establishInKernel()
	quality := func() telemetry.Quality {
		r.pass(2 * sweepEvery)
		r.refresh(i, ss)
		return r.meters.Report(&ss.meter)[telemetry.ToBackend]
	}
	r.sendAll(callerISN, 10)
	if q := quality(); q.Packets != 10 || q.LostBefore != 0 {
		t.Fatalf("before %+v", q.Counts)
	}
	before := ss.toBackend.Packets
	r.owner.SetStep(overload.StepTelemetry)
	r.settle()
	r.sendAll(callerISN+10, 10)
	r.sendAll(callerISN+120, 10) // 100 are missing, which nobody notes
	if q := quality(); q.Packets != 10 || q.LostBefore != 0 || q.Bytes != 10*100 {
		t.Errorf("in the gap %+v", q.Counts)
	}
	if got := ss.toBackend.Packets - before; got != 20 {
		t.Errorf("%d datagrams counted in the gap, want 20", got)
	}
	r.owner.SetStep(overload.StepNone)
	r.settle()
	r.sendAll(callerISN+130, 1)
	if q := quality(); q.LostBefore != 0 || q.Packets > 11 {
		t.Errorf("after the gap %+v", q.Counts)
	}
	packets := quality().Packets
	r.sendAll(callerISN+133, 10) // two are missing
	if q := quality(); q.LostBefore != 2 || q.Packets != packets+10 || q.LostBehind+q.Reordered+q.Duplicated != 0 {
		t.Errorf("with a loss %+v", q.Counts)
	}
	if !ss.inKernel {
		t.Error("the session has left the kernel path")
	}
}
