package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/balancer"
)

// changeInterval is how often the backends are compared. Changes that are undone in
// between are not reported.
const changeInterval = 250 * time.Millisecond

// changeFollower compares the backends with those of a while ago.
type changeFollower struct {
	registry *backend.Registry
	ejected  func() map[backend.ID]balancer.Ejection
	publish  func(answer.Event)
	log      *slog.Logger

	before  *backend.Snapshot
	then    time.Time
	earlier ejections
}

// run publishes an event for each change of a backend, and logs ejections, until ctx ends.
// It compares the backends periodically, and before it closes what flush receives.
func (f *changeFollower) run(ctx context.Context, flush <-chan chan struct{}) {
	tick := time.NewTicker(changeInterval)
	defer tick.Stop()
	f.before, f.then = f.registry.Snapshot(), time.Now()
	f.earlier = f.ejected() // there are some after a take-over
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.compare(now)
		case done := <-flush:
			f.compare(time.Now())
			close(done)
		}
	}
}

func (f *changeFollower) compare(now time.Time) {
	after := f.registry.Snapshot()
	for _, e := range changes(f.before, after, f.then, now) {
		f.publish(e)
	}
	current := f.ejected()
	changed := ejectionChanges(f.earlier, current, after, now)
	logEjections(changed, f.log)
	for _, e := range changed {
		f.publish(e)
	}
	f.before, f.then, f.earlier = after, now, current
}

// changes returns the events for the differences between two snapshots.
func changes(before, after *backend.Snapshot, then, now time.Time) []answer.Event {
	var all []answer.Event
	add := func(b backend.Backend, kind, cause string) {
		all = append(all, answer.Event{
			Time: now.UTC(), Kind: kind, Backend: string(b.ID), Address: shownAddr(b.Addr), Cause: cause,
		})
	}
	for _, b := range before.Backends {
		if _, still := after.Find(b.ID); !still {
			add(b, answer.EventBackendRemoved, string(b.Source))
		}
	}
	for _, b := range after.Backends {
		was, known := before.Find(b.ID)
		if !known {
			add(b, answer.EventBackendRegistered, string(b.Source))
			continue
		}
		if what := difference(was, b, then, now); what != "" {
			add(b, answer.EventBackendChanged, what)
		}
	}
	return all
}

// shownAddr returns an address as text, "" for none.
func shownAddr(at netip.AddrPort) string {
	if !at.IsValid() {
		return ""
	}
	return at.String()
}

// difference describes what has changed about a backend; "" if nothing has that
// interests an operator.
func difference(was, is backend.Backend, then, now time.Time) string {
	var what []string
	flag := func(before, after bool, on, off string) {
		switch {
		case after && !before:
			what = append(what, on)
		case before && !after:
			what = append(what, off)
		}
	}
	flag(was.Down, is.Down, "down", "answers")
	flag(was.Late(then), is.Late(now), "heartbeat late", "heartbeat again")
	// Two orders between two comparisons may be of two operators.
	by := func(relay string) string {
		if relay == "" {
			return ""
		}
		return ", ordered at relay " + relay
	}
	flag(was.Draining, is.Draining, "draining"+by(is.DrainedBy), "draining no more"+by(is.DrainedBy))
	flag(was.Removed, is.Removed, "not in the configuration any more, draining", "in the configuration again")
	flag(!was.LeftAt.IsZero(), !is.LeftAt.IsZero(), "its name has the address no more", "its name has the address again")
	switch {
	case was.Addr == is.Addr:
	case !was.Addr.IsValid():
		what = append(what, "name resolves")
	case !is.Addr.IsValid():
		what = append(what, is.Problem)
	default:
		what = append(what, "moved from "+was.Addr.String())
	}
	switch weight := "weight " + strconv.Itoa(is.Share()); {
	case was.OrderedWeight != is.OrderedWeight:
		what = append(what, weight+by(is.WeighedBy))
	case was.Share() != is.Share():
		what = append(what, weight)
	}
	if is.Suspect && !is.Down && !was.Suspect {
		what = append(what, "in doubt")
	}
	return strings.Join(what, ", ")
}

// ejections holds the state of every backend that outlier detection has ever ejected.
type ejections map[backend.ID]balancer.Ejection

// ejectionChanges returns the events for ejected backends between two times.
func ejectionChanges(before, after ejections, snap *backend.Snapshot, now time.Time) []answer.Event {
	var all []answer.Event
	for i := range snap.Backends {
		b := &snap.Backends[i]
		was, is := before[b.ID], after[b.ID]
		cause := ""
		switch {
		case is.Ejected && is.Times > was.Times:
			cause = "ejected: " + is.Why
		case is.Returning && !was.Returning:
			cause = "returns from ejection"
		case was.Ejected && !is.Ejected:
			cause = "ejected no more"
		default:
			continue
		}
		all = append(all, answer.Event{
			Time: now.UTC(), Kind: answer.EventBackendChanged, Backend: string(b.ID), Address: b.Addr.String(), Cause: cause,
		})
	}
	return all
}

// logEjections writes events of ejectionChanges to the log.
func logEjections(all []answer.Event, log *slog.Logger) {
	for _, e := range all {
		log.Warn("backend "+e.Cause, "backend", e.Backend, "address", e.Address)
	}
}
