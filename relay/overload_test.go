package relay

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
	"srtrelay/relay/overload"
)

// monitored is a relay whose shards have what the test says.
type monitored struct {
	*relay
	steps  []overload.Step // that the parts were told, without repetitions
	events []string        // in order
}

func newMonitored(t *testing.T, flags ...string) *monitored {
	m := &monitored{relay: parts(t, append(flags, "--max-sessions=100")...)}
	m.relay.overload = newOverloadMonitor(m.relay, func(s overload.Step) {
		m.steps = slices.Compact(append(m.steps, s))
	})
	m.relay.overload.publish = func(e answer.Event) { m.events = append(m.events, e.Kind+" "+e.Step+" "+e.Input) }
	return m
}

// hold samples for a time.
func (m *monitored) hold(d time.Duration, sessions uint64) {
	for range d / overload.Every {
		time.Sleep(overload.Every) // of the bubble
		m.relay.overload.sample([]overload.ShardSample{{Sessions: sessions}}, overload.Reading{Detail: "no file"})
	}
}

// Each step has an event, a count and a reason, and what it takes back it gives back.
func TestOverloadMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMonitored(t)
		if text, full := m.relay.overload.problem(); text != "" || full {
			t.Errorf("at first: %q", text)
		}
		m.hold(10*time.Second, 92)
		text, full := m.relay.overload.problem()
		if text != "overload: step players, pressure 0.92 by sessions: 92 of 100 sessions" || full {
			t.Errorf("at 92 sessions: %q %v", text, full)
		}
		o := m.relay.overload.Overload()
		if !o.On || o.Step != "players" || o.Pressure != 0.92 || o.Input != "sessions" || !o.Steps[2].Active || o.Steps[3].Active || o.Steps[2].Entered != 1 {
			t.Errorf("%+v", o)
		}
		if memory := o.Inputs[overload.InputMemory]; memory.Pressure != nil || memory.Detail != "no file" {
			t.Errorf("%+v", memory)
		}
		m.hold(10*time.Second, 100)
		if _, full := m.relay.overload.problem(); !full {
			t.Error("not full with as many sessions as may be")
		}
		m.hold(20*time.Second, 0)
		up := []overload.Step{overload.StepNone, overload.StepTelemetry, overload.StepCaptures, overload.StepPlayers, overload.StepPublishers}
		down := slices.Clone(up[:4])
		slices.Reverse(down)
		if want := slices.Concat(up, down); !slices.Equal(m.steps, want) {
			t.Errorf("the parts were told %v, want %v", m.steps, want)
		}
		var want []string
		for _, s := range up[1:] {
			want = append(want, answer.EventOverloadEntered+" "+s.String()+" sessions")
		}
		for _, s := range slices.Backward(up[1:]) {
			want = append(want, answer.EventOverloadLeft+" "+s.String()+" sessions")
		}
		if got := m.events; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// Off leaves all steps at once, and none is entered. The pressure is shown all the same.
func TestOverloadOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMonitored(t)
		m.hold(10*time.Second, 100)
		m.relay.overload.set(false)
		m.hold(10*time.Second, 100)
		o := m.relay.overload.Overload()
		if o.On || o.Step != "none" || o.Pressure != 1 || m.steps[len(m.steps)-1] != overload.StepNone {
			t.Errorf("%+v, told %v", o, m.steps)
		}
		if left := m.events[4:]; len(left) != 4 || !strings.HasPrefix(left[0], answer.EventOverloadLeft+" publishers") {
			t.Errorf("events %q", left)
		}
		m.relay.overload.set(true)
		m.hold(10*time.Second, 100)
		if o := m.relay.overload.Overload(); !o.On || o.Step != "publishers" || o.Steps[0].Entered != 2 {
			t.Errorf("on again: %+v", o)
		}
	})
}

// A process that takes over begins at the step of the other, with its counts, unless its
// own configuration turns the ladder off.
func TestOverloadIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newMonitored(t)
		old.hold(10*time.Second, 92)
		b := old.relay.overload.appendSnapshot(nil)
		next := newMonitored(t)
		if err := next.relay.overload.restore(b); err != nil {
			t.Fatal(err)
		}
		if o := next.relay.overload.Overload(); o.Step != "players" || o.Steps[2].Entered != 1 || !slices.Equal(next.steps, []overload.Step{overload.StepPlayers}) {
			t.Errorf("%+v, told %v", o, next.steps)
		}
		next.hold(10*time.Second, 92)
		if got := next.events; got != nil {
			t.Errorf("events %q", got)
		}
		off := newMonitored(t, "--overload=off")
		if err := off.relay.overload.restore(b); err != nil {
			t.Fatal(err)
		}
		if o := off.relay.overload.Overload(); o.Step != "none" {
			t.Errorf("%+v", o)
		}
		for _, damaged := range [][]byte{b[:len(b)-1], {0xFF}, {}} {
			if err := newMonitored(t).relay.overload.restore(damaged); err == nil {
				t.Errorf("%x was accepted", damaged)
			}
		}
		if err := newMonitored(t).relay.overload.restore(nil); err != nil {
			t.Errorf("of an earlier version: %v", err)
		}
	})
}
