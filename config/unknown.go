package config

import (
	"fmt"
	"slices"
	"strings"
)

// UnknownVariables returns a warning for each SRTRELAY_ variable of an environment
// ("NAME=value" each) that names no setting, and one for all variables of SRS's proxy that
// the relay ignores.
func UnknownVariables(environ []string) []string {
	known := []string{envName("config"), "SRTRELAY_CA"} // the second is for commands that ask a relay
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

// suggestVariable is suggest for a variable without its prefix.
func suggestVariable(end string) string {
	name := strings.ToLower(strings.ReplaceAll(end, "_", "-"))
	if near := nearest(name); near != "" {
		return fmt.Sprintf(", did you mean %q?", envName(near))
	}
	return ""
}

// expand returns the variables of PREFIX_{A,B}.
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

// suggest returns the end of an error line: the setting that was probably meant.
func suggest(name, prefix string) string {
	if best := nearest(name); best != "" {
		return ", did you mean \"" + prefix + best + "\"?"
	}
	return ""
}

// nearest returns the setting whose name is most similar; "" if none is similar enough.
func nearest(name string) string {
	best, score := "", len(name)/3+1
	for i := range fields {
		if d := distance(name, fields[i].name); d <= score {
			best, score = fields[i].name, d-1
		}
	}
	return best
}

// distance returns the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
