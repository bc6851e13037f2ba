package report

import "fmt"

// Outcome is PASS, FAIL or a dash for a verdict without a value.
func (v Verdict) Outcome() string {
	switch {
	case v.Missing != "":
		return "-"
	case v.Pass:
		return "PASS"
	}
	return "FAIL"
}

func (v Verdict) String() string {
	if v.Missing != "" {
		return fmt.Sprintf("%s: no verdict: %s", v.Text, v.Missing)
	}
	return fmt.Sprintf("%s: %s = %.3g, must be %s %g", v.Outcome(), v.Text, v.Value, v.Sign, v.Limit)
}
