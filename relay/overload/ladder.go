package overload

import (
	"math"
	"time"
)

const (
	// Every is how often the inputs are read.
	Every = 250 * time.Millisecond
	// smoothing is the time constant by which an input's pressure follows its readings: a
	// step from 0 to 1 is at 0.22 after one reading and above 0.8 after seven.
	smoothing = time.Second
	// longest is the most time that one reading stands for: the process may have been
	// stopped since the last one, and what is read then is one spike.
	longest = 2 * Every
	// settled is the difference below which a pressure is its reading: an exponential
	// never arrives.
	settled = 0.005
	// Hold is how long the pressure must have been below a step's lower threshold before the
	// step is left. Steps are left one at a time, so that callers who were refused do not
	// all come back at once.
	Hold = 2 * time.Second
	// unknownAfter is how long an input that cannot be read keeps its last pressure.
	unknownAfter = 5 * time.Second
)

// Change is a step that was entered or left.
type Change struct {
	Step    Step
	Entered bool
	// Input had the highest pressure, which was Pressure. Detail is what was read there.
	Input    Input
	Pressure float64
	Detail   string
}

// Ladder follows the pressure. It belongs to one goroutine. The zero Ladder is at StepNone.
type Ladder struct {
	step   Step
	at     time.Duration // the last update
	began  bool
	whole  bool // the next readings are taken as they are
	inputs [NumInputs]pressure
	calm   time.Duration // since when the pressure is below the step's lower threshold
	isCalm bool
}

// pressure is the smoothed pressure of one input.
type pressure struct {
	value  float64
	known  bool
	readAt time.Duration // the last reading that was known
	detail string
}

// Resume makes a fresh ladder begin at a step, as that of another process has left it. The
// first readings count in full: they are no spike.
func (l *Ladder) Resume(step Step) {
	l.step, l.whole = min(step, StepPublishers), true
}

// LeaveAll leaves all steps at once. The pressure is followed all the same.
func (l *Ladder) LeaveAll() { l.step, l.isCalm = StepNone, false }

// Step returns the present step.
func (l *Ladder) Step() Step { return l.step }

// Update takes the readings of a time and returns the steps that were entered or left, in
// order. now must not fall.
func (l *Ladder) Update(now time.Duration, r *Readings) []Change {
	elapsed := min(max(now-l.at, 0), longest)
	if !l.began {
		elapsed, l.began = Every, true
	}
	l.at = now
	for i := range r {
		l.inputs[i].update(now, elapsed, &r[i], l.whole)
	}
	l.whole = false
	highest, input := l.Pressure()
	change := func(s Step, entered bool) Change {
		return Change{Step: s, Entered: entered, Input: input, Pressure: highest, Detail: l.inputs[input].detail}
	}
	var changes []Change
	for l.step < StepPublishers && highest >= enterAt[l.step+1] {
		l.step++
		l.isCalm = false
		changes = append(changes, change(l.step, true))
	}
	switch {
	case l.step == StepNone || highest >= leaveAt[l.step]:
		l.isCalm = false
	case !l.isCalm:
		l.calm, l.isCalm = now, true
	case now-l.calm >= Hold:
		changes = append(changes, change(l.step, false))
		l.step--
		l.calm = now
		l.isCalm = highest < leaveAt[l.step]
	}
	return changes
}

// update follows one input.
func (p *pressure) update(now, elapsed time.Duration, r *Reading, whole bool) {
	p.detail = r.Detail
	if !r.Known || math.IsNaN(r.Pressure) {
		if p.known && now-p.readAt >= unknownAfter {
			p.known, p.value = false, 0
		}
		return
	}
	to := min(max(r.Pressure, 0), 1)
	p.readAt = now
	p.value += (to - p.value) * (1 - math.Exp(-elapsed.Seconds()/smoothing.Seconds()))
	if whole || math.Abs(to-p.value) < settled {
		p.value = to
	}
	p.known = true
}

// Pressure returns the highest pressure of all inputs, and the input that has it.
func (l *Ladder) Pressure() (highest float64, input Input) {
	for i := range l.inputs {
		if p := &l.inputs[i]; p.known && p.value > highest {
			highest, input = p.value, Input(i)
		}
	}
	return highest, input
}

// Input returns the smoothed pressure of one input, whether it is known, and what was
// last read there.
func (l *Ladder) Input(i Input) (value float64, known bool, detail string) {
	p := &l.inputs[i]
	return p.value, p.known, p.detail
}
