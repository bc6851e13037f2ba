package web

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"testing"
)

// The rounding rule a second time, told by what it should give: tests compare
// the page's text with these.

func fixed(v float64, decimals int) string { return new(big.Rat).SetFloat64(v).FloatString(decimals) }

func three(v float64) string {
	switch {
	case v < 9.995:
		return fixed(v, 2)
	case v < 99.95:
		return fixed(v, 1)
	}
	return fixed(v, 0)
}

func bitrateText(v float64) string {
	for _, unit := range []string{"bit/s", "kbit/s", "Mbit/s"} {
		if v < 999.5 {
			if unit == "bit/s" {
				return fixed(v, 0) + " " + unit
			}
			return three(v) + " " + unit
		}
		v /= 1000
	}
	return three(v) + " Gbit/s"
}

func millisText(v *float64) string {
	if v == nil {
		return "–"
	}
	return three(*v) + " ms"
}

func percentText(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case *v == 0:
		return "0 %"
	case *v < 0.005:
		return "<0.01 %"
	}
	return three(*v) + " %"
}

func countText(v uint64) string {
	digits := strconv.FormatUint(v, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func TestNumbers(t *testing.T) {
	text, err := os.ReadFile("testdata/numbers.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases [][3]any
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	p := overview(t, startRelay(t, 1))
	got := readLater[[]string](p, fmt.Sprintf(`import("/ui/numbers.js").then(n => %s.map(([f, v]) => n[f](v)))`, text))
	for i, c := range cases {
		if got[i] != c[2] {
			t.Errorf("%v of %v is %q, want %q", c[0], c[1], got[i], c[2])
		}
	}
	p.clean()
}

func TestVerdict(t *testing.T) {
	const cases = `[
		{}, {callerLoss: 0, backendLoss: 0.09}, {callerLoss: 4.83, backendLoss: 0}, {callerLoss: 0.5}, {callerLoss: 0, backendLoss: 3.1},
		{callerLoss: 2, backendLoss: 0.7}, {callerLoss: 6.77, backendLoss: 0.5}, {callerLoss: 0.2, backendLoss: 2}, {callerLoss: 0}, {backendLoss: 0}, {callerLoss: 0, backendLoss: 0, tight: {latency: 120, rtt: 180}},
		{callerLoss: 4.83, backendLoss: 0, sessions: {all: 12, caller: 3, backend: 0}}, {callerLoss: 0, backendLoss: 3.1, sessions: {all: 12, caller: 0, backend: 12}},
		{callerLoss: 2, backendLoss: 0.7, sessions: {all: 4, caller: 1, backend: 4}}, {callerLoss: 4.83, backendLoss: 0, sessions: {all: 1, caller: 1, backend: 0}}]`
	want := []struct{ level, text string }{
		{"unknown", "No media at present, so there is nothing to judge."},
		{"good", "Both networks are clean."},
		{"bad", "It is the caller's network: it loses 4.83 % of the media; yours is clean."},
		{"some", "It is the caller's network: it loses 0.50 % of the media; of yours nothing is known."},
		{"bad", "It is your network: between relay and backend 3.10 % of the media is lost; the caller's is clean."},
		{"bad", "Both networks lose media: the caller's 2.00 %, yours 0.70 %."},
		{"bad", "It is mostly the caller's network: it loses 6.77 % of the media, yours 0.50 %."},
		{"bad", "It is mostly your network: between relay and backend 2.00 % of the media is lost, on the caller's 0.20 %."},
		{"good", "The caller's network is clean; of yours nothing is known."},
		{"good", "Your network is clean; of the caller's nothing is known."},
		{"some", "Both networks are clean. A latency of 120 ms is short for an RTT of 180 ms: what is lost cannot always be repeated in time."},
		{"bad", "It is the caller's network in 3 of 12 sessions: it loses 4.83 % of the media; yours is clean."},
		{"bad", "It is your network in all 12 sessions: between relay and backend 3.10 % of the media is lost; the caller's is clean."},
		{"bad", "Both networks lose media: the caller's 2.00 % in 1 of 4 sessions, yours 0.70 % in all 4 sessions."},
		{"bad", "It is the caller's network: it loses 4.83 % of the media; yours is clean."},
	}
	p := overview(t, startRelay(t, 1))
	got := readLater[[]struct{ Level, Text string }](p, `import("/ui/verdict.js").then(m => `+cases+`.map(m.verdict))`)
	for i, w := range want {
		if got[i].Level != w.level || got[i].Text != w.text {
			t.Errorf("case %d: %+v, want %+v", i, got[i], w)
		}
	}
	tight := readLater[[]*struct{ Latency, RTT float64 }](p, `import("/ui/verdict.js").then(m => {
		const s = (role, latency, rtt) => ({role, srt: {latency_to_backend_ms: latency, latency_to_caller_ms: 9999}, caller_leg: {rtt_ms: rtt}, backend_leg: {rtt_ms: 1}});
		return [m.tightest([]), m.tightest([s("publisher", 120, 39)]), m.tightest([s("publisher", 120, 40), s("publisher", 120, 80), s("player", 20, 300)])];
	})`)
	if tight[0] != nil || tight[1] != nil || tight[2] == nil || tight[2].Latency != 120 || tight[2].RTT != 81 {
		t.Errorf("tightest: %+v %+v %+v", tight[0], tight[1], tight[2])
	}
}
