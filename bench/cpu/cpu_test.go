package cpu

import (
	"os"
	"testing"
	"time"
)

const statText = `cpu  300 1 200 5000 7 0 40 9 0 0
cpu0 100 1 150 2500 7 0 30 4 0 0
cpu1 200 0 50 2500 0 0 10 5 0 0
intr 12345 0 1
ctxt 99
`

func TestParseStat(t *testing.T) {
	cpus, err := ParseStat(statText)
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) != 2 {
		t.Fatalf("%d CPUs, want 2", len(cpus))
	}
	if got, want := cpus[0].Ticked(), 2810*time.Millisecond; got != want {
		t.Errorf("ticked %v, want %v", got, want)
	}
	if got, want := cpus[1].Quiet(), 25050*time.Millisecond; got != want {
		t.Errorf("quiet %v, want %v", got, want)
	}
	for _, wrong := range []string{"", "cpu 1 2 3 4 5 6 7 8\n", "cpu0 1 2 3\n", "cpu0 1 2 x 4 5 6 7 8\n", "cpu0 1 2 3 4 5 6 7 -8\n"} {
		if _, err := ParseStat(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	if got, err := ParseSchedstat("369067 49533 1\n"); err != nil || got != 369067 {
		t.Errorf("%v, %v", got, err)
	}
	for _, wrong := range []string{"", "1 2", "x 2 3"} {
		if _, err := ParseSchedstat(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestParsePIDStat(t *testing.T) {
	const text = "42 (a ) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 777 1000 10"
	if got, err := ParsePIDStat(text); err != nil || got != 2*time.Second {
		t.Errorf("%v, %v; want 2 s", got, err)
	}
	for _, wrong := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 50 0"} {
		if _, err := ParsePIDStat(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add(statText)
	f.Add("1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13")
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = ParseStat(s)
		_, _ = ParsePIDStat(s)
		_, _ = ParseSchedstat(s)
	})
}

func TestBetween(t *testing.T) {
	at := time.Now()
	a := Reading{At: at, CPUs: []Times{{Idle: 10 * time.Second}, {Idle: 20 * time.Second, Steal: time.Second}}, Procs: map[string]time.Duration{"p": time.Second}}
	b := Reading{
		At: at.Add(4 * time.Second),
		CPUs: []Times{
			{Idle: 11 * time.Second, User: 2 * time.Second, SoftIRQ: time.Second},
			{Idle: 23 * time.Second, Steal: 1500 * time.Millisecond, IOWait: 500 * time.Millisecond},
		},
		Procs: map[string]time.Duration{"p": 3 * time.Second, "new": time.Second},
	}
	u := Between(a, b)
	if u.Wall != 4*time.Second || u.CPUBusy[0] != 3*time.Second || u.CPUBusy[1] != 0 || u.Busy != 3*time.Second {
		t.Errorf("busy: %+v", u)
	}
	if u.Ticked != 3*time.Second || u.SoftIRQ != time.Second || u.Steal != 500*time.Millisecond {
		t.Errorf("ticked: %+v", u)
	}
	if u.Procs["p"] != 2*time.Second || u.Procs["new"] != time.Second {
		t.Errorf("processes: %v", u.Procs)
	}
}

// What this process does must be seen, on a real /proc.
func TestReadSeesWork(t *testing.T) {
	procs := map[string][]int{"self": {os.Getpid()}, "gone": {1 << 30}}
	a, err := Read(procs)
	if err != nil {
		t.Fatal(err)
	}
	// Ends by CPU time, not by the clock: a busy machine only takes longer.
	for {
		b, err := Read(procs)
		if err != nil {
			t.Fatal(err)
		}
		u := Between(a, b)
		if u.Procs["self"] >= 30*time.Millisecond {
			if u.Procs["gone"] != 0 {
				t.Errorf("a process that is gone used %v", u.Procs["gone"])
			}
			return
		}
	}
}
