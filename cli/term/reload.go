package term

import (
	"strconv"
	"strings"

	"srtrelay/api/answer"
)

// maxValue is the most of a value that the table of a reload shows: a list may be long.
const maxValue = 40

// Reload returns a table of the settings that a reload has found changed.
func (s Formatter) Reload(r answer.Reload) string {
	var b strings.Builder
	switch {
	case r.File == "":
		b.WriteString("there is no configuration file; flags and variables do not change\n")
	case len(r.Changes) == 0:
		b.WriteString("no setting has changed in " + answer.Printable(r.File) + "\n")
	}
	if r.Rules != "" {
		b.WriteString("rules in force from " + answer.Printable(r.Rules) + "\n")
	}
	if r.CookieSecrets > 0 {
		b.WriteString("shared secrets in force from their file: " + strconv.Itoa(r.CookieSecrets) + "\n")
	}
	if len(r.Changes) == 0 {
		return b.String()
	}
	rows := [][]string{{"SETTING", "FROM", "TO", "IN FORCE"}}
	for _, c := range r.Changes {
		rows = append(rows, []string{c.Setting, clipped(c.From), clipped(c.To), inForce(c)})
	}
	b.WriteString(strings.Join(align(rows, true, true, true, true), "\n") + "\n")
	return b.String()
}

func inForce(c answer.SettingChange) string {
	switch {
	case c.Applied:
		return "yes"
	case c.Why != "":
		return "no, needs srtrelay upgrade: " + answer.Printable(c.Why)
	}
	return "no, needs srtrelay upgrade"
}

// clipped returns a value in a width that a terminal has.
func clipped(text string) string {
	text = answer.Printable(text)
	if runes := []rune(text); len(runes) > maxValue {
		return string(runes[:maxValue-1]) + "…"
	}
	return text
}
