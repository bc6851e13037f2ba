//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// awaitPlaces waits until a relay's view of a stream satisfies cond.
func (r *relay) awaitPlaces(what, key string, cond func(answer.ClusterStream) bool) {
	r.t.Helper()
	var list answer.ClusterStreamList
	if !eventually(func() bool {
		list = answer.ClusterStreamList{}
		r.get("/api/v1/cluster/streams?key="+key, &list)
		return len(list.Streams) == 1 && cond(list.Streams[0])
	}) {
		r.t.Fatalf("%s: not within %v: %+v\n%s", what, patience, list, r.tail())
	}
}

// awaitRelays waits until a relay's view of all relays satisfies cond.
func (r *relay) awaitRelays(what string, cond func(answer.RelayList) bool) {
	r.t.Helper()
	var list answer.RelayList
	if !eventually(func() bool {
		list = answer.RelayList{}
		r.get("/api/v1/cluster", &list)
		return cond(list)
	}) {
		r.t.Fatalf("%s: not within %v: %+v\n%s", what, patience, list, r.tail())
	}
}

// A relay shows the streams of the other one that shares its Redis, and when that one is
// away. What an operator orders at one holds at the other, and after a restart.
func TestRelaysSeeEachOther(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	backends := []*srttest.Listener{startMirror(t), startMirror(t)}
	args := append(s.at(), backendAt(backends[0].Addr()), backendAt(backends[1].Addr()))
	a, b := startRelay(t, append(args, "--name", "relay-a")...), startRelay(t, append(args, "--name", "relay-b")...)
	a.awaitReadiness(http.StatusOK, "")
	b.awaitReadiness(http.StatusOK, "")
	publisher := mustDial(t, a.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	mustDial(t, b.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	_, home := connectionOf(t, publisher, backends...)
	id := backends[home].Addr().String()
	b.awaitPlaces("both places of the stream", "live/x", func(one answer.ClusterStream) bool {
		return len(one.Places) == 2 && one.Sessions == 2 && one.Places[0].Name == "relay-a" && one.Places[0].Publishers == 1 &&
			one.Places[1].Name == "relay-b" && one.Places[1].Players == 1 && one.Places[0].Backend.ID == id && one.Places[1].Backend.ID == id
	})
	b.awaitRelays("both relays", func(l answer.RelayList) bool {
		return l.Alive == 2 && l.Away == 0 && l.Sum.Sessions == 2 && l.Sum.Streams == 1 && l.SharedState.InUse
	})
	if code, out, _ := b.command("streams", "--cluster"); code != 0 || strings.Count(out, "live/x") != 2 || !strings.Contains(out, "relay-a") {
		t.Errorf("srtrelay streams --cluster: exit %d\n%s", code, out)
	}

	events := b.follow("")
	code, out, _ := a.command("backends", "drain", id)
	if code != 0 || out != "backend "+id+" drained at all relays\n" {
		t.Errorf("drain: exit %d, %s", code, out)
	}
	b.awaitListing("the drain at relay-b", func(all map[string]listed) bool { return all[id].Draining && all[id].OrderedBy == "relay-a" })
	for cause := ""; cause != "draining, ordered at relay relay-a"; {
		cause = events.await(answer.EventBackendChanged).Cause
	}
	if code, out, _ := b.command("backends", "weight", id, "7"); code != 0 || !strings.Contains(out, "at all relays") {
		t.Errorf("weight: exit %d, %s", code, out)
	}
	a.awaitListing("the weight at relay-a", func(all map[string]listed) bool { return all[id].Weight == 7 })

	a.kill()
	b.awaitRelays("relay-a to be away", func(l answer.RelayList) bool {
		return l.Alive == 1 && l.Away == 1 && l.Relays[0].Name == "relay-a" && l.Relays[0].State == answer.RelayAway && l.Sum.Sessions == 1
	})
	b.awaitPlaces("the last known place", "live/x", func(one answer.ClusterStream) bool {
		return len(one.Places) == 2 && one.Sessions == 1 && one.Places[1].Name == "relay-a" && one.Places[1].State == answer.RelayAway
	})
	next := startRelay(t, append(args, "--name", "relay-a")...)
	next.awaitListing("the orders after a restart", func(all map[string]listed) bool { return all[id].Draining && all[id].Weight == 7 })

	s.kill()
	b.awaitRelays("the view to say that Redis is away", func(l answer.RelayList) bool {
		return !l.SharedState.InUse && !l.SharedState.ReadAt.IsZero() && len(l.Relays) > 0
	})
	if code, out, _ := b.command("backends", "undrain", id); code != 0 || !strings.Contains(out, "pending at the others") {
		t.Errorf("undrain without redis: exit %d, %s", code, out)
	}
	s.start()
	next.awaitListing("the undrain of the outage", func(all map[string]listed) bool { return !all[id].Draining })
}
