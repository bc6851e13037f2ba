//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// The same as TestRealStreamsMigrate with three relays behind one address: the flow from each
// caller's new address reaches another relay than the one that has its session, then the third
// one, and then its own again. The session stays where it is.
func TestRealStreamsMigrateAcrossRelays(t *testing.T) {
	t.Parallel()
	s := openScaleOut(t, "-p", passphrase, "-k", "32", "-l", fmt.Sprint(migrationLatency.Milliseconds()))
	n := addNATBox(s.kernelLab)
	n.relays = s.relays
	for _, node := range s.nodes {
		n.cutSuperpackets(node, "veth0")
	}
	tour := n.start(s.origin, n.watch(s.Origin, "", origin4), sharedAddr)
	s.awaitAcquainted()
	s.awaitPublished(len(tour.callers))

	for i, step := range []struct {
		name  string
		to    int // natAddrs
		relay int // after the one that has the session
	}{{"another port, another relay", 0, 1}, {"another address, the third relay", 1, 2}, {"another port, its own relay", 1, 3}} {
		port, ports := uint16(20_001+10_000*i), map[uint16]int{}
		reached := map[int]bool{} // a relay may have none of the callers, and the next one then gets no flow
		for k, c := range tour.callers {
			to := (slices.Index(s.relays, c.relay) + step.relay) % scaleOutRelays
			ports[port+uint16(k)], reached[to] = 1+to, true
		}
		maps.Copy(ports, s.ports) // flows that a caller has left
		s.steer(ports)
		before := s.passedOn()
		tour.move(step.name, natAddrs[step.to], port)
		for k, passed := range s.passedOn() {
			if passed == before[k] && reached[k] && step.relay < scaleOutRelays {
				t.Errorf("%s: relay %d has passed nothing on", step.name, k+1)
			}
		}
		t.Logf("%s: passed on %v, beyond limits %d", step.name, s.passedOn(), s.relays.sum("pass_limit"))
	}
	tour.end()
}

// passedOn is how many datagrams each relay has passed on.
func (s *scaleOut) passedOn() (all [scaleOutRelays]uint64) {
	for i, r := range s.relays {
		all[i] = r.stats()["passed_on"]
	}
	return all
}
