//go:build linux

package e2e

import (
	"testing"
)

// relayList is relays that a test looks at as one.
type relayList []*relay

// sum is that of a counter over all relays.
func (all relayList) sum(name string) (n uint64) {
	for _, r := range all {
		n += r.stats()[name]
	}
	return n
}

// log returns the lines of all relays with this message so far.
func (all relayList) log(msg string) (found []logLine) {
	for _, r := range all {
		found = append(found, r.log(msg)...)
	}
	return found
}

// await waits until cond holds, and shows the relays if it does not.
func (all relayList) await(what string, cond func() bool) {
	t := all[0].t
	t.Helper()
	if !eventually(cond) {
		all.show(t)
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// awaitSum waits until a counter has reached a sum.
func (all relayList) awaitSum(what, name string, n uint64) {
	all[0].t.Helper()
	all.await(what, func() bool { return all.sum(name) >= n })
}

// show writes counters and the ends of the logs, for a test that has failed.
func (all relayList) show(t *testing.T) {
	t.Helper()
	for _, r := range all {
		t.Logf("relay %v: %v\n%s", r.api, r.stats(), r.tail())
	}
}
