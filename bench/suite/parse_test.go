//go:build linux

package suite

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestOptions(t *testing.T) {
	o, err := Parse([]string{
		"-only", "publish, mixed", "-peers", "direct,srtrelay", "-rounds", "3", "-load-cpus", "0,2-3", "-peer-cpus", "all",
		"-variant", "a=--gso=off,--gro=off", "-relay-binary", "a=/x/y", "-relay-binary", "old=/z", "-relay-flags", "--batch=8 --gro=off",
	}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.Only, []string{"publish", "mixed"}) || !slices.Equal(o.LoadCPUs, []int{0, 2, 3}) || o.PeerCPUs != nil {
		t.Errorf("%+v", o)
	}
	if len(o.Variants) != 2 || o.Variants[0].Binary != "/x/y" || !slices.Equal(o.Variants[0].Flags, []string{"--gso=off", "--gro=off"}) {
		t.Errorf("variants: %+v", o.Variants)
	}
	if o.Variants[1].Label != "old" || o.Variants[1].Binary != "/z" || len(o.Variants[1].Flags) != 0 {
		t.Errorf("variants: %+v", o.Variants)
	}
	if !slices.Equal(o.RelayFlags, []string{"--batch=8", "--gro=off"}) {
		t.Errorf("relay flags: %q", o.RelayFlags)
	}
	var names []string
	for _, p := range peersOf(o) {
		names = append(names, p.Name())
	}
	if !slices.Equal(names, []string{"direct", "srtrelay", "a", "old"}) {
		t.Errorf("peers: %v", names)
	}
	if o.Backends.String() != "127.0.0.1" {
		t.Errorf("backends at %s", o.Backends)
	}
}

// Every refusal names the flag.
func TestWrongOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-only", "nothing"},
		{"-peers", "haproxy"},
		{"-rounds", "0"},
		{"-rounds", "x"},
		{"-sinks", "0"},
		{"-backends", "10.0.0.1"},
		{"-load-cpus", "3-1"},
		{"-peer-cpus", "x"},
		{"-variant", "noname"},
		{"-variant", "nginx=--x"},
		{"-relay-binary", "=/x"},
		{"-bogus"},
	} {
		_, err := Parse(args, nil, "")
		if err == nil || !strings.Contains(err.Error(), args[0]) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := Parse([]string{"more"}, nil, ""); err == nil {
		t.Error("an argument too many was accepted")
	}
	var out bytes.Buffer
	if _, err := Parse([]string{"-help"}, &out, "how"); !errors.Is(err, flag.ErrHelp) || out.String() != "how" {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestParseShares(t *testing.T) {
	const text = `# Samples: 3K of event 'cpu-clock'
#
# Overhead  Symbol
# ........  ......
    40.50%  [k] __udp_enqueue_schedule_skb
     2.25%  [k] futex_wait
     1.00%  [.] runtime.futex.abi0
     0.50%  [.] runtime.lock2
     0.25%  [k] native_queued_spin_lock_slowpath
     0.25%  [k] _raw_spin_lock
     3.00%  [.] srtrelay/shard.(*Table).Lookup
`
	s, err := parseShares(text)
	if err != nil || s.futex != 3.25 || s.other != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := parseShares("# nothing\n"); err == nil {
		t.Error("a profile without samples was accepted")
	}
}

func TestParseWaiting(t *testing.T) {
	stack := func(id uint64, name string) *profile.Location {
		return &profile.Location{ID: id, Line: []profile.Line{{Function: &profile.Function{ID: id, Name: name}}}}
	}
	run, lock, other := stack(1, "srtrelay/shard.(*Shard).run"), stack(2, "sync.(*Mutex).Lock"), stack(3, "srtrelay/shard.(*Shard).ask")
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}},
		Sample: []*profile.Sample{
			{Value: []int64{1, 300}, Location: []*profile.Location{lock, run}},
			{Value: []int64{9, 5000}, Location: []*profile.Location{lock, other}},
		},
		Location: []*profile.Location{run, lock, other},
		Function: []*profile.Function{run.Line[0].Function, lock.Line[0].Function, other.Line[0].Function},
	}
	read := func() (waiting, error) {
		var raw bytes.Buffer
		if err := p.Write(&raw); err != nil {
			t.Fatal(err)
		}
		return parseWaiting(raw.Bytes())
	}
	if w, err := read(); err != nil || w != (waiting{all: 5300, loops: 300}) {
		t.Errorf("%+v, %v", w, err)
	}
	p.SampleType[1].Unit = "cycles"
	if _, err := read(); err == nil {
		t.Error("a profile without delays was accepted")
	}
	if _, err := parseWaiting([]byte("no profile")); err == nil {
		t.Error("something else was accepted")
	}
}

func TestParseRollup(t *testing.T) {
	const text = "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:    2048 kB\nPss:    1024 kB\nPss_Anon: 9 kB\n"
	if rss, pss, err := parseRollup(text); err != nil || rss != 2<<20 || pss != 1<<20 {
		t.Errorf("%d %d %v", rss, pss, err)
	}
	for _, wrong := range []string{"", "Rss: 1 kB\n", "Rss: x kB\nPss: 1 kB\n"} {
		if _, _, err := parseRollup(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestParseMap(t *testing.T) {
	const text = "pos:\t0\nflags:\t02\nmap_type:\t2\nkey_size:\t4\nmemlock:\t4096\nmap_id:\t7\n"
	if got := parseMap(text); got != 4096 {
		t.Errorf("%d bytes", got)
	}
	for _, other := range []string{"", "pos:\t0\n", "prog_type:\t3\nmemlock:\t4096\n", "map_type:\t2\nmemlock:\tx\n"} {
		if got := parseMap(other); got != 0 {
			t.Errorf("%q: %d bytes", other, got)
		}
	}
	if files, _, err := filesOf(os.Getpid()); err != nil || files < 3 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestDescribeRefusals(t *testing.T) {
	const text = `{"code":0,"data":{"shards":[{"counters":{"at_source_cap":2,"forwarded":9}},{"counters":{"at_source_cap":3,"rejected":1,"at_session_cap":0}}]}}`
	if got := describeRefusals([]byte(text)); got != "at_source_cap 5, rejected 1" {
		t.Error(got)
	}
	for _, other := range []string{"x", "{}"} {
		if got := describeRefusals([]byte(other)); strings.Contains(got, "cap 5") {
			t.Error(got)
		}
	}
}
