package shard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"srtrelay/shard/limit"
	"srtrelay/shard/owners"
)

// takeOvers has every rig be taken over whenever it has settled: see
// TestAgainWithTakeOvers.
var takeOvers bool

// takeOversOlder is how much earlier time 0 of the successors is.
var takeOversOlder time.Duration

// successor returns another shard with the rig's sockets, whose time counts from another
// origin, as in a process that takes over.
func (r *rig) successor(change ...func(*Config)) *Shard {
	r.t.Helper()
	cfg := *r.cfg
	for _, c := range change {
		c(&cfg)
	}
	next, err := newShard(r.id, &cfg, limit.NewSums(1), r.origin.Add(-takeOversOlder), r.originAt-takeOversOlder)
	if err != nil {
		r.t.Fatal(err)
	}
	next.broken, next.background, next.others = r.broken, r.background, r.others
	next.groupStep = r.groupStep
	next.group, next.owners = r.Shard.group, owners.New(cfg.Places())
	next.fronts, next.backs = slices.Clone(r.fronts), slices.Clone(r.backs)
	next.eachEndpoint(func(ep *endpoint, _ int) {
		next.poller.Add(ep.sock)
		ep.readable = true
	})
	r.t.Cleanup(func() {
		_ = next.poller.Close()
		_ = next.batch.Close()
	})
	return next
}

// takeOver puts another shard in the rig's, which goes on with its snapshot.
func (r *rig) takeOver(change ...func(*Config)) {
	r.t.Helper()
	next := r.successor(change...)
	if err := next.restore(r.appendSnapshot(nil)); err != nil {
		r.t.Fatal(err)
	}
	old := r.Shard
	r.Shard, r.owner.shards[0], r.owner.owners = next, next, next.owners
	r.clock += takeOversOlder
	if err := old.poller.Close(); err != nil {
		r.t.Error(err)
	}
	if err := old.batch.Close(); err != nil {
		r.t.Error(err)
	}
}

// Whatever a shard does it does as well if other processes take it over all the time. Not
// among the tests are those of what starts anew (probes, duplicates of INDUCTIONs) and of
// answers that the resolver gives to a shard of long ago.
func TestAgainWithTakeOvers(t *testing.T) {
	takeOvers = true
	defer func() { takeOvers, takeOversOlder = false, 0 }()
	for _, older := range []time.Duration{0, 77 * time.Minute} {
		takeOversOlder = older
		for _, c := range []struct {
			name string
			test func(*testing.T)
		}{
			{"a session from first to last", TestSessionFromFirstToLast},
			{"idle", TestIdleSessionEnds},
			{"silent backend", TestSilentBackendEndsSession},
			{"both silent", TestBothSilentIsNotABackendsFault},
			{"lost SHUTDOWN", TestLostShutdownIsRepeated},
			{"replaced", TestSameIDNewISNReplaces},
			{"late response", TestLateResponseIsShutDown},
			{"equal IDs", TestEqualBackendIDsOnOnePort},
			{"replay", TestResponseIsReplayedForAWhile},
			{"busy balancer", TestBusyBalancer},
			{"overload", TestStepsRefuseNewCallers},
			{"not measured", TestSessionsAreNotMeasured},
			{"no backend", TestNoBackend},
			{"silent during the handshake", TestSilentBackendIsReplacedWithinTheHandshake},
			{"slow backend", TestSlowBackendKeepsItsOnlyChance},
			{"all silent", TestAllBackendsSilent},
			{"one choice", TestOneChoiceAtATime},
			{"only silence is reported", TestOnlySilenceIsReported},
			{"late accept after rejection", TestLateAcceptAfterRejectionIsShutDown},
			{"no orphan", TestNoOrphanWithoutConclusion},
			{"returning caller", TestReturningCallerReplacesItsSession},
			{"returning caller retries", TestReturningCallerThatRetries},
			{"forged INDUCTION", TestForgedInductionDisturbsNoSession},
			{"known cookie", TestKnownCookieSavesAnInduction},
			{"known cookie ages", TestKnownCookieAges},
			{"silence after a known cookie", TestSilenceAfterAKnownCookieAsksForAnother},
			{"refused cookie", TestRefusedCookieIsNotTheCallersBusiness},
			{"late response to a known cookie", TestLateResponseToAKnownCookieCounts},
			{"rejections of a source", TestRejectionsCountAgainstTheirSource},
			{"cap of a source", TestSessionsOfOneSourceAreCapped},
			{"one attempt", TestOneAttemptAtATime},
			{"view of rejected", TestViewOfRejected},
			{"telemetry", TestTelemetry},
			{"later terms", TestTermsThatComeLater},
			{"telemetry off", TestTelemetryOff},
			{"rates", TestRatesPerBackend},
		} {
			t.Run(fmt.Sprintf("%s, origin %v", c.name, older), c.test)
		}
	}
}
