package keep

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]message{
		"":                                   {},
		"READY=1":                            {ready: true},
		"READY=1\nWATCHDOG=1":                {ready: true, alive: true},
		"WATCHDOG=trigger":                   {},
		"READY=0":                            {},
		"READY":                              {},
		"STATUS=READY=1":                     {},
		"MAINPID=17":                         {mainPID: 17},
		"MAINPID=-1":                         {},
		"MAINPID=4294967297":                 {},
		"MAINPID=1x":                         {},
		"FDSTORE=1\nFDPOLL=0\nFDNAME=a":      {store: true, name: "a"},
		"FDSTOREREMOVE=1\nFDNAME=a/0/1":      {remove: true, name: "a/0/1"},
		"FDSTORE=1\nFDNAME=a:b":              {store: true},
		"FDSTORE=1\nFDNAME=a b":              {store: true},
		"FDSTORE=1\nFDNAME=a\nFDNAME=":       {store: true},
		"FDSTORE=1\nFDNAME=\xff":             {store: true},
		"FDSTORE=1\nFDNAME=a\x00":            {store: true},
		"FDNAME=" + strings.Repeat("a", 256): {},
		"BARRIER=1":                          {},
		"\n\n=\nREADY=1\n":                   {ready: true},
	} {
		if got := parse([]byte(text)); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// Whatever a message says, its name fits into LISTEN_FDNAMES and its process can be one.
func FuzzParse(f *testing.F) {
	f.Add([]byte("FDSTORE=1\nFDPOLL=0\nFDNAME=front/0/0/%5B::1%5D"))
	f.Add([]byte("MAINPID=7\nREADY=1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := parse(text)
		if m.mainPID < 0 || m.name != "" && !isName([]byte(m.name)) || strings.ContainsAny(m.name, ":\x00\n") {
			t.Errorf("%q: %+v", text, m)
		}
	})
}

// openNull returns a descriptor.
func openNull(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Open("/dev/null", syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func isOpen(fd int) bool { return syscall.Fstat(fd, new(syscall.Stat_t)) == nil }

func TestStore(t *testing.T) {
	s := store{most: 2}
	a, again, b, c := openNull(t), openNull(t), openNull(t), openNull(t)
	for _, step := range []struct {
		name string
		fd   int
		ok   bool
	}{{"a", a, true}, {"b", b, true}, {"a", again, true}, {"c", c, false}} {
		if s.put(step.name, step.fd) != step.ok {
			t.Errorf("put %s: %v", step.name, !step.ok)
		}
	}
	if isOpen(a) || isOpen(c) || !isOpen(again) || !isOpen(b) {
		t.Error("what is not kept must be closed, and nothing else")
	}
	if got := s.inherited(); !slices.Equal(got, []uintptr{0, 1, 2, uintptr(again), uintptr(b)}) {
		t.Errorf("inherited: %v", got)
	}
	got := s.environment([]string{"A=1", "LISTEN_FDS=9", "NOTIFY_SOCKET=/x"}, "/y", 7)
	want := []string{"A=1", "GOTRACEBACK=crash", "NOTIFY_SOCKET=/y", "FDSTORE=2", "WATCHDOG_USEC=30000000", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PPID=7"}
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	s.remove("a")
	s.remove("none")
	if isOpen(again) || !isOpen(b) {
		t.Error("remove must close the descriptor of a name")
	}
	s.clear()
	if isOpen(b) || len(s.all) > 0 {
		t.Error("clear must close all")
	}
	if got := s.environment([]string{"GOTRACEBACK=all"}, "@y", 7); !slices.Equal(got, []string{"GOTRACEBACK=all", "NOTIFY_SOCKET=@y", "FDSTORE=2", "WATCHDOG_USEC=30000000"}) {
		t.Errorf("environment %q", got)
	}
}

func TestPauseAfter(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second,
	} {
		if got := pauseAfter(failures); got != want {
			t.Errorf("%d failures: %v, want %v", failures, got, want)
		}
	}
}
