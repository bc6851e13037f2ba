package term

import (
	"strings"
	"testing"

	"srtrelay/api/answer"
)

// What an operator reads is at which step the relay is, what that means, and why.
func TestOverloadLine(t *testing.T) {
	at := answer.Overload{
		On: true, Step: "players", Pressure: 0.923, Input: "drops",
		Steps: []answer.OverloadStep{{Name: "telemetry"}, {Name: "players", Effect: "new players are refused with 2402", Active: true}},
	}
	off := at
	off.On, off.Step = false, stepNone
	calm := answer.Overload{On: true, Step: stepNone}
	for want, o := range map[string]answer.Overload{
		"overload: step players, new players are refused with 2402 (pressure 0.92 by drops)": at,
		"overload: off (pressure 0.92 by drops)":                                             off,
		"overload: no step (pressure 0.00)":                                                  calm,
	} {
		if got := overloadLine(o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var view top
	for _, c := range []struct {
		overload answer.Overload
		lines    int
	}{{at, 1}, {calm, 0}, {off, 0}, {answer.Overload{}, 0}} {
		view.view.shards.Overload = c.overload
		if got := view.overloadLines(); len(got) != c.lines {
			t.Errorf("%+v: %q", c.overload, got)
		}
	}
	if got := (Formatter{}).overload(answer.Overload{}); got != "" {
		t.Errorf("of a relay that knows none: %q", got)
	}
	e := answer.Event{Kind: answer.EventOverloadEntered, Step: "players", Input: "drops", Pressure: 0.9, Cause: "shard 1"}
	if got := (Formatter{}).Event(e); !strings.HasSuffix(got, "step=players  input=drops  pressure=0.90  cause=shard 1") {
		t.Errorf("%q", got)
	}
}
