package config

import (
	"fmt"
	"slices"
	"strings"
)

// UnknownVariables returns a line for each SRTRELAY_ variable of an environment
// ("NAME=value" each) that names no setting, and one line for all variables of
// SRS's proxy that have no meaning here. others are further SRTRELAY_ variables
// that mean something to the caller.
func UnknownVariables(environ []string, others ...string) []string {
	known := append([]string{envName("config")}, others...)
	for i := range fields {
		known = append(known, envName(fields[i].name))
		for _, alias := range fields[i].aliases {
			known = append(known, expand(alias)...)
		}
	}
	var lines, ignored []string
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if text == "" || slices.Contains(known, name) {
			continue
		}
		switch setting, ours := strings.CutPrefix(name, "SRTRELAY_"); {
		case ours:
			lines = append(lines, fmt.Sprintf("%s: unknown variable%s", name, suggestVariable(setting)))
		case strings.HasPrefix(name, "PROXY_"):
			ignored = append(ignored, name)
		}
	}
	slices.Sort(lines)
	if len(ignored) > 0 {
		slices.Sort(ignored)
		lines = append(lines, strings.Join(ignored, ", ")+": ignored, they concern what this relay does not do (RTMP, HTTP, WebRTC)")
	}
	return lines
}

// suggestVariable is suggest for the end of a variable's name.
func suggestVariable(end string) string {
	name := strings.ToLower(strings.ReplaceAll(end, "_", "-"))
	if near := nearest(name); near != "" {
		return fmt.Sprintf(", did you mean %q?", envName(near))
	}
	return ""
}

// expand lists the variables that PREFIX_{A,B} stands for.
func expand(alias string) []string {
	prefix, ends, several := strings.Cut(alias, "{")
	if !several {
		return []string{alias}
	}
	var all []string
	for end := range strings.SplitSeq(strings.TrimSuffix(ends, "}"), ",") {
		all = append(all, prefix+end)
	}
	return all
}
