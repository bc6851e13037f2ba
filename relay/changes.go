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

// changesEvery is how often the backends are looked at: at once for a person,
// and what comes and goes in between is told as what became of it.
const changesEvery = 250 * time.Millisecond

// followChanges tells how the set of backends, and what is thought of them,
// changes, until ctx ends.
func followChanges(ctx context.Context, r *backend.Registry, ejected func() map[backend.ID]balancer.Ejection, tell func(answer.Event), log *slog.Logger) {
	tick := time.NewTicker(changesEvery)
	defer tick.Stop()
	before, then := r.Snapshot(), time.Now()
	var out ejections
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			after := r.Snapshot()
			for _, e := range changes(before, after, then, now) {
				tell(e)
			}
			thought := ejected()
			turned := ejectionChanges(out, thought, after, now)
			logEjections(turned, log)
			for _, e := range turned {
				tell(e)
			}
			before, then, out = after, now, thought
		}
	}
}

// changes compares the backends of one time with those of a later one.
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

// shownAddr is an address, "" for none.
func shownAddr(at netip.AddrPort) string {
	if !at.IsValid() {
		return ""
	}
	return at.String()
}

// difference says what has changed about a backend, "" for nothing that an
// operator would ask about.
func difference(was, is backend.Backend, then, now time.Time) string {
	var what []string
	turned := func(before, after bool, on, off string) {
		switch {
		case after && !before:
			what = append(what, on)
		case before && !after:
			what = append(what, off)
		}
	}
	turned(was.Down, is.Down, "down", "answers")
	turned(was.Late(then), is.Late(now), "heartbeat late", "heartbeat again")
	turned(was.Draining, is.Draining, "draining", "draining no more")
	switch {
	case was.Addr == is.Addr:
	case !was.Addr.IsValid():
		what = append(what, "name resolves")
	case !is.Addr.IsValid():
		what = append(what, is.Problem)
	default:
		what = append(what, "moved from "+was.Addr.String())
	}
	if was.Weight != is.Weight {
		what = append(what, "weight "+strconv.Itoa(is.Weight))
	}
	if is.Suspect && !is.Down && !was.Suspect {
		what = append(what, "in doubt")
	}
	return strings.Join(what, ", ")
}
