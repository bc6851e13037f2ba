package limit

import "time"

const (
	// WindowLength is the time over which events are counted. ffmpeg retries a refused
	// connection eight times within seconds: a limit of one connect per second still lets
	// ten in at once.
	WindowLength = 10 * time.Second
	// RateWindow is the time over which a bitrate is measured: longer than the bursts of a
	// key frame, and short enough to act upon.
	RateWindow = 5 * time.Second
)

// Window counts events in the last WindowLength: those since the last multiple of it, and a
// share of those in the one before. Unlike the levels of token buckets, the counts of all
// shards add up.
type Window struct {
	slot      uint32 // number of the present WindowLength
	now, last uint32 // events in it, and in the one before
}

func slotOf(now time.Duration) uint32 { return uint32(now / WindowLength) }

// Add counts an event.
func (w *Window) Add(now time.Duration) {
	w.turn(slotOf(now))
	if w.now++; w.now == 0 {
		w.now--
	}
}

func (w *Window) turn(slot uint32) {
	switch {
	case slot == w.slot:
	case slot == w.slot+1:
		*w = Window{slot, 0, w.now}
	default:
		*w = Window{slot: slot}
	}
}

// Count returns the number of events.
func (w Window) Count(now time.Duration) uint32 {
	w.turn(slotOf(now))
	if w.last == 0 {
		return w.now
	}
	left := WindowLength - now%WindowLength
	return w.now + uint32(uint64(w.last)*uint64(left)/uint64(WindowLength))
}

// Rate sums up bitrates, or finds the highest, over sweeps through all sessions. Its value
// is that of the last sweep that is complete.
type Rate struct {
	sweep       uint32 // that now belongs to
	now, before uint64
}

func (r *Rate) turn(sweep uint32) {
	switch {
	case sweep == r.sweep:
	case sweep == r.sweep+1:
		*r = Rate{sweep, 0, r.now}
	default:
		*r = Rate{sweep: sweep}
	}
}

// Add adds a session's bitrate to the sum.
func (r *Rate) Add(sweep uint32, bits uint64) {
	r.turn(sweep)
	r.now += bits
}

// Max notes a session's bitrate if it is the highest.
func (r *Rate) Max(sweep uint32, bits uint64) {
	r.turn(sweep)
	r.now = max(r.now, bits)
}

// Read returns the value.
func (r Rate) Read(sweep uint32) uint64 {
	r.turn(sweep)
	return r.before
}

// samples is how many visits a Meter looks back at most. Visits are a second apart, or
// more.
const samples = 5

// Clock has the times of the last visits to a group of sessions, which are visited
// together.
type Clock struct {
	at     time.Duration // of the last visit
	passed [samples]time.Duration
	next   int
	since  int           // the visit that the present bitrates are measured from
	over   time.Duration // and the time since, RateWindow at least
}

// Visit begins a visit. The time before the first one does not count.
func (c *Clock) Visit(now time.Duration) {
	c.next = (c.next + 1) % samples
	if c.passed[c.next] = max(now-c.at, 0); c.at == 0 {
		c.passed[c.next] = 0
	}
	c.at = now
	back, over := 0, time.Duration(0)
	for ; back < samples && over < RateWindow; back++ {
		over += c.passed[(c.next+samples-back)%samples]
	}
	// Visits are a little less than a second apart now and then.
	c.since, c.over = (c.next+samples-back)%samples, max(over, RateWindow)
}

// meterUnit is what a Meter counts in: with bytes, 32 bits would not hold what a session may
// relay between two visits that are a minute apart.
const meterUnit = 8

// Meter measures one session's bitrate.
type Meter struct {
	marks [samples]uint32 // what the session had relayed, in meterUnit, by visit; they wrap
}

// Begin sets the meter to a session that has relayed so many bytes before it was first visited.
func (m *Meter) Begin(bytes uint64) {
	for k := range m.marks {
		m.marks[k] = uint32(bytes / meterUnit)
	}
}

// Visit notes how many bytes the session has relayed, once per visit, and returns its bitrate
// over RateWindow, longer if visits are rarer. A counter that has decreased is no rate.
func (m *Meter) Visit(c *Clock, bytes uint64) (bits uint64) {
	now := uint32(bytes / meterUnit)
	grown := max(int32(now-m.marks[c.since]), 0) // the mark of samples visits ago is the next one's place
	m.marks[c.next] = now
	return uint64(float64(grown) * 8 * meterUnit / c.over.Seconds())
}
