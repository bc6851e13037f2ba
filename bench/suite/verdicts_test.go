//go:build linux

package suite

import (
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
)

// bench is one that has measured these costs in publish, of rounds in turn.
func bench(costs map[string][]float64) *Bench {
	b := &Bench{say: newProgress(io.Discard)}
	for peer, rounds := range costs {
		for i, cost := range rounds {
			b.doc.Runs = append(b.doc.Runs, report.Run{Scenario: "publish", Peer: peer, Round: i + 1, CostMicros: cost, PeerCores: cost / 1000})
		}
	}
	report.FillAdded(b.doc.Runs)
	return b
}

func outcomes(b *Bench) string {
	var all []string
	for _, v := range b.doc.Verdicts {
		all = append(all, v.Outcome())
	}
	return strings.Join(all, " ")
}

func TestKernelPathIsJudged(t *testing.T) {
	direct, nft, nginx := []float64{10, 12, 11}, []float64{10.5, 12.5, 11.5}, []float64{20, 22, 21}
	for _, c := range []struct {
		name string
		ours []float64
		want string // against nftables, against nginx, lossless
	}{
		{"on a level with nftables", []float64{10.5, 12.5, 11.5}, "PASS PASS PASS"},
		{"a tenth of a direct packet more", []float64{11.5, 13.5, 12.5}, "PASS PASS PASS"},
		{"a fifth more", []float64{12.7, 14.7, 13.7}, "FAIL FAIL PASS"},
		{"less than nftables", []float64{10, 12, 11}, "PASS PASS PASS"},
		{"absent", nil, "- - -"},
	} {
		b := bench(map[string][]float64{"direct": direct, "nft": nft, "nginx": nginx, kernelPath: c.ours})
		b.judgeCost("publish")
		if got := outcomes(b); got != c.want {
			t.Errorf("%s: %s, want %s: %v", c.name, got, c.want, b.doc.Verdicts)
		}
	}
}

func TestProcessIsJudged(t *testing.T) {
	b := bench(map[string][]float64{kernelPath: {15, 17, 40}})
	b.judgeProcess("publish")
	b.doc.Runs[1].PeerCores = 0.03
	b.judgeProcess("publish")
	b.judgeProcess("mixed")
	if got := outcomes(b); got != "PASS FAIL -" {
		t.Errorf("%s: %v", got, b.doc.Verdicts)
	}
}

func TestLatencyIsJudged(t *testing.T) {
	b := &Bench{say: newProgress(io.Discard)}
	add := func(peer string, p50, p99 float64) {
		b.doc.Runs = append(b.doc.Runs, report.Run{Scenario: "latency", Peer: peer, Rate: 9, Latency: &report.Percentiles{P50: p50, P99: p99}})
	}
	add("direct", 14, 179)
	add(kernelPath, 24, 200)
	b.judgeLatency(9)
	add("nft", 16, 190)
	b.judgeLatency(9) // ten more than nftables' only round
	add("nft", 16, 200)
	add("nft", 16, 190)
	b.judgeLatency(9) // as in one of its rounds
	add("direct", 13, 179)
	b.judgeLatency(9)
	if got := outcomes(b); got != "PASS - PASS FAIL PASS PASS FAIL PASS" {
		t.Errorf("%s: %v", got, b.doc.Verdicts)
	}
}

// A ratio to nothing must not cost the report, which is JSON.
func TestVerdictsAreNumbers(t *testing.T) {
	b := &Bench{say: newProgress(io.Discard)}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		b.verdict(report.AtMost("publish", "ratio", v, 1))
		b.verdict(report.AtMost("publish", "ratio", 1, v))
	}
	if _, err := json.Marshal(b.doc); err != nil {
		t.Error(err)
	}
	if got := outcomes(b); got != "- - - - - -" {
		t.Errorf("%s: %v", got, b.doc.Verdicts)
	}
}

// A variant of the relay is chosen with it, its kernel paths are not.
func TestPeersAreChosen(t *testing.T) {
	o, err := Parse([]string{"-variant", "a=--gso=off"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &Bench{peers: peersOf(o)}
	names := func(all []peers.Peer) string {
		var names []string
		for _, p := range all {
			names = append(names, p.Name())
		}
		return strings.Join(names, "; ")
	}
	if got, want := names(b.usual()), "direct; srtrelay; a; srtrelay, kernel path; nft; nginx; goproxy"; got != want {
		t.Errorf("usual: %s, want %s", got, want)
	}
	if got, want := names(b.among("direct", relay)), "direct; srtrelay; a"; got != want {
		t.Errorf("in user space: %s, want %s", got, want)
	}
	if got, want := names(b.among(kernelPath, kernelPathAccept)), "srtrelay, kernel path; srtrelay, kernel path, accept"; got != want {
		t.Errorf("in the kernel: %s, want %s", got, want)
	}
}

// Hooks may cost what the direct path's own rounds differ by.
func TestHooksAreJudged(t *testing.T) {
	for _, c := range []struct {
		direct, beside []float64
		want           string
	}{
		{[]float64{10, 11, 12}, []float64{10, 11, 12}, "PASS"},
		{[]float64{10, 11, 12}, []float64{10.9, 11.9, 12.9}, "PASS"},
		{[]float64{10, 11, 12}, []float64{11.1, 12.1, 13.1}, "FAIL"},
		{[]float64{10, 10, 10}, []float64{10.1, 10.1, 10.1}, "PASS"},
		{[]float64{10, 10, 10}, []float64{10.3, 10.3, 10.3}, "FAIL"},
		{[]float64{10, 10, 10}, nil, "-"},
	} {
		b := bench(map[string][]float64{"direct": c.direct, peers.BesideName: c.beside})
		for i := range b.doc.Runs {
			b.doc.Runs[i].Scenario = "hooks"
		}
		report.FillAdded(b.doc.Runs)
		b.judgeHooks()
		if got := outcomes(b); got != c.want {
			t.Errorf("%v beside %v: %s, want %s: %v", c.beside, c.direct, got, c.want, b.doc.Verdicts)
		}
	}
}

func TestAddedIsJudged(t *testing.T) {
	b := bench(map[string][]float64{"direct": {2, 3}, kernelPath: {2.25, 3.25}})
	b.judgeAdded("publish", 0.3)
	b.judgeAdded("publish", 0.2)
	b.judgeAdded("trains", 0.3)
	if got := outcomes(b); got != "PASS FAIL -" {
		t.Errorf("%s: %v", got, b.doc.Verdicts)
	}
}

func TestParseKernelPath(t *testing.T) {
	const text = `{"code":0,"data":{"shards":[],"kernel_path":{"on":true,"sessions":99,"devices":[
		{"name":"lo","up":{"type":3,"mtu":0}},{"name":"veth0","up":{"type":4,"pending":1}}]}}}`
	sessions, left, err := parseKernelPath([]byte(text))
	if err != nil || sessions != 99 || left != "pending 1, type 7" {
		t.Errorf("%d sessions, left %q, %v", sessions, left, err)
	}
	if _, left, err := parseKernelPath([]byte(`{"data":{}}`)); err != nil || left != "none" {
		t.Errorf("left %q, %v", left, err)
	}
	if _, _, err := parseKernelPath([]byte("x")); err == nil {
		t.Error("something else was accepted")
	}
}
