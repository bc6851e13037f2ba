package shard

import (
	"testing"

	"srtrelay/observe/telemetry"
)

// Records of a session that leaves the kernel path do not count for it when it enters again, in
// the same turn, with the same generation.
func TestRecordsOfAnEarlierEntry(t *testing.T) {
	enterNamespace(t)
	r := newKernelRig(t, nil)
	i, ss := r.establishInKernel()
	r.sendAll(callerISN, 1)
	for k := range uint32(recordsPerTurn + 50) { // each behind a gap: a record
		if _, err := r.caller.Write(dataPacket(callerISN+3+2*k, backendID, 100)); err != nil {
			t.Fatal(err)
		}
	}
	r.leaveKernel(i, ss)
	r.enterKernel(i, ss, false)
	r.readAllRecords()
	if one := r.kernel.state(i).ways[telemetry.ToBackend]; !ss.inKernel || one.exceptions != 0 {
		t.Errorf("in the kernel path %v, with %d records of the entry before", ss.inKernel, one.exceptions)
	}
}
