package backend

import "time"

// Fate is what became of a placement. All but Began end its lease.
type Fate uint8

// The fates of a placement.
const (
	// Unused: the caller went, or could not be served, before the backend had
	// its time. It says nothing of the backend.
	Unused Fate = iota
	// Began: the backend accepted the caller. The lease goes on.
	Began
	// Refused: the backend rejected the caller for want of resources.
	Refused
	// Denied: the backend rejected the caller for what it is or asks.
	Denied
	// Silent: the backend gave no valid answer in its time, or fell silent in
	// a session while its caller was sending.
	Silent
	// Lost: nobody listens there any more.
	Lost
	// Closed: the backend ended the session.
	Closed
	// Ended: the caller, the operator or the relay ended the session.
	Ended
)

var fateNames = [...]string{
	Unused: "unused", Began: "began", Refused: "refused", Denied: "denied", Silent: "silent", Lost: "lost",
	Closed: "closed", Ended: "ended",
}

// String returns the name of the fate in logs.
func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return "unknown"
}

// Outcome is what the holder of a lease reports of it.
type Outcome struct {
	Lease Lease
	Fate  Fate
	// Lasted is how long the session was established, 0 if it never was.
	Lasted time.Duration
}
