package srtrelay_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"srtrelay/config"
	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// maxExposure is the exposure of the unit that systemd-analyze security computes, times
// ten: nothing may make it worse.
const maxExposure = "21"

const unitFile = "deploy/srtrelay.service"

// setting returns a line of the unit without its name.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
	if found == nil {
		t.Fatalf("%s has no %s=", unitFile, name)
	}
	return found[1]
}

// systemd finds nothing to warn of in the unit, and its exposure does not grow.
func TestUnitIsSound(t *testing.T) {
	analyze := need.Tool(t, "systemd-analyze")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "srtrelay.service")
	// A program that is there; the manual page is not.
	text := strings.ReplaceAll(read(t, unitFile), "/usr/local/bin/srtrelay", program)
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", unit},
		{"security", "--offline=true", "--no-pager", "--threshold=" + maxExposure, unit},
	} {
		if out, err := clocale.Command(analyze, args...).CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// What the unit says fits what the relay does.
func TestUnitAgrees(t *testing.T) {
	unit := read(t, unitFile)
	c, err := config.Load(nil, func(string) (string, bool) { return "", false }, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(name string) time.Duration {
		d, err := time.ParseDuration(setting(t, unit, name) + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if stop := seconds("TimeoutStopSec"); stop <= c.DrainDelay+c.Grace {
		t.Errorf("TimeoutStopSec=%v, a stop takes %v", stop, c.DrainDelay+c.Grace)
	}
	// systemctl reload has the new process read what the old one was started with.
	start, reload := setting(t, unit, "ExecStart"), setting(t, unit, "ExecReload")
	if program, flags, _ := strings.Cut(start, " "); reload != program+" upgrade "+flags {
		t.Errorf("ExecReload=%s beside ExecStart=%s", reload, start)
	}
	if watchdog := seconds("WatchdogSec"); watchdog < 10*time.Second {
		t.Errorf("WatchdogSec=%v, of which a process that takes over does not get to know", watchdog)
	}
	// Go ends with 2 after a panic and after SIGABRT, unless a traceback ends in a crash.
	if setting(t, unit, "RestartPreventExitStatus") != "2" || setting(t, unit, "Environment") != "GOTRACEBACK=crash" {
		t.Error("a relay that the watchdog ends is not started again")
	}
}
