package relay

import (
	"log/slog"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/balancer"
)

// ejections are the backends that outlier detection has ejected at one time or
// another.
type ejections map[backend.ID]balancer.Ejection

// ejectionChanges tells what has become of ejected backends between two times.
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

// logEjections writes them down.
func logEjections(all []answer.Event, log *slog.Logger) {
	for _, e := range all {
		log.Warn("backend "+e.Cause, "backend", e.Backend, "address", e.Address)
	}
}
