package term

import (
	"fmt"
	"strings"

	"srtrelay/api/answer"
)

// stepNone is the name of no step.
const stepNone = "none"

// overload returns what the relay has given up, and the inputs of the pressure.
func (s Formatter) overload(o answer.Overload) string {
	if o.Step == "" {
		return "" // a relay of an earlier version
	}
	rows := [][]string{{"INPUT", "PRESSURE", "READING"}}
	for _, i := range o.Inputs {
		rows = append(rows, []string{i.Name, pressure(i.Pressure), answer.Printable(i.Detail)})
	}
	text := overloadLine(o)
	if o.Step != stepNone {
		text += ", since " + s.figures().moment(o.Since)
	}
	return "\n" + text + "\n\n" + strings.Join(align(rows, true, false, true), "\n") + "\n"
}

// overloadLine says at which step the relay is, what that means, and why.
func overloadLine(o answer.Overload) string {
	state := "no step"
	for _, step := range o.Steps {
		if step.Name == o.Step {
			state = "step " + step.Name + ", " + answer.Printable(step.Effect)
		}
	}
	if !o.On {
		state = "off"
	}
	why := ""
	if o.Input != "" {
		why = " by " + o.Input
	}
	return fmt.Sprintf("overload: %s (pressure %.2f%s)", state, o.Pressure, why)
}

// pressure formats a pressure, which may be unknown.
func pressure(p *float64) string {
	if p == nil {
		return unknown
	}
	return fmt.Sprintf("%.2f", *p)
}

// overloadLines returns the line of the live view about the step that the relay is at; none
// without one.
func (t *top) overloadLines() []string {
	o := t.view.shards.Overload
	if o.Step == "" || o.Step == stepNone {
		return nil
	}
	return []string{severityStyles[severityCritical].Render(overloadLine(o))}
}
