package takeover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
)

// launchedMain reports as FAULT says.
func launchedMain() {
	r := OpenReport()
	if r == nil || os.Getenv(reportVariable) != "" {
		os.Exit(9)
	}
	flags, err := unix.FcntlInt(r.file.Fd(), unix.F_GETFD, 0)
	if session, _ := unix.Getsid(0); err != nil || flags&unix.FD_CLOEXEC == 0 || session != os.Getpid() {
		os.Exit(9)
	}
	switch os.Getenv("FAULT") {
	case "settled":
		r.Settled(Verdict{PID: 7, Took: 3 * time.Millisecond, Sessions: 5})
		r.Fail(errors.New("and later"))
	case "fail":
		r.Fail(errors.New("the\nreason"))
		os.Exit(2)
	case "fail and hang":
		r.Fail(errors.New("the reason"))
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(3)
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	case "garbage":
		_, _ = r.file.Write([]byte("garbage"))
	case "hang":
		time.Sleep(time.Hour)
	}
	os.Exit(0)
}

func TestLaunch(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{
		"settled":       "",
		"fail":          `^the new process \(PID \d+\): the reason$`,
		"fail and hang": `^the new process \(PID \d+\): the reason$`,
		"exit":          `^the new process \(PID \d+\): ended before it had settled: exit status 3$`,
		"kill":          `^the new process \(PID \d+\): ended before it had settled: signal: killed$`,
		"garbage":       `^the new process \(PID \d+\): bad report: `,
		"hang":          `^the new process \(PID \d+\): given up: context deadline exceeded$`,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			v, err := Launch(ctx, Program{
				Path: self, Env: clocale.Environ(roleVariable+"=launched", "FAULT="+how, reportVariable+"=99"), Stderr: os.Stderr,
			})
			if want == "" {
				if err != nil || v != (Verdict{PID: 7, Took: 3 * time.Millisecond, Sessions: 5}) {
					t.Errorf("%+v %v", v, err)
				}
			} else if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
	if _, err := Launch(t.Context(), Program{Path: "/nowhere"}); err == nil {
		t.Error("a missing program was started")
	}
}

// A variable that is left of something else is not for this process.
func TestOpenReportOfOther(t *testing.T) {
	null := files(1)
	defer CloseFiles(null)
	for _, text := range []string{"", "x", "-1", "2", "999", fmt.Sprint(null[0].FD)} {
		t.Setenv(reportVariable, text)
		if r := OpenReport(); r != nil {
			t.Errorf("%q: a report", text)
		}
		if _, set := os.LookupEnv(reportVariable); set {
			t.Errorf("%q: still set", text)
		}
	}
	runtime.GC() // which closes files that nobody refers to
	if _, err := unix.FcntlInt(uintptr(null[0].FD), unix.F_GETFD, 0); err != nil {
		t.Errorf("another's descriptor was closed: %v", err)
	}
	var none *Report
	none.Settled(Verdict{})
	none.Fail(errors.New("x"))
}
