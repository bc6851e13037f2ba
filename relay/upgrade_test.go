package relay

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"srtrelay/config"
)

func TestUpgradeArgs(t *testing.T) {
	for given, want := range map[string]string{
		"":                          "serve --takeover=require",
		"--config x":                "serve --config x --takeover=require",
		"serve --takeover never -h": "serve --takeover never -h --takeover=require",
		"serve --api 127.0.0.1:1 --takeover=require": "serve --api 127.0.0.1:1 --takeover=require",
	} {
		args := strings.Fields(given)
		if got := upgradeArgs(args); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q", given, got)
		}
	}
}

// A link that leads to another program now, or a file that was replaced, is followed.
func TestOwnBinary(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "relay")
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	if got := ownBinary(link); got != link {
		t.Errorf("a link: %s", got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := ownBinary(filepath.Join(dir, "gone")); got != self {
		t.Errorf("a name that is gone: %s", got)
	}
}

func TestUpgradeWithoutSocket(t *testing.T) {
	var log bytes.Buffer
	signals := make(chan os.Signal) // without a buffer: the second is read after the first was handled
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watchUpgrades(ctx, signals, config.Config{}, process{log: slog.New(slog.NewTextHandler(&log, nil))})
	}()
	signals <- syscall.SIGUSR2
	signals <- syscall.SIGUSR2
	stop()
	<-done
	if !strings.Contains(log.String(), "no upgrade: it needs --takeover-socket") {
		t.Errorf("log: %s", &log)
	}
}
