package kernelpath

import (
	"log/slog"
	"os"
	"testing"
)

// open opens a path of one shard in the test's network namespace.
func open(t *testing.T) *Path {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	p, err := Open(Config{Shards: 1, Places: 1024, Log: slog.Default()})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestLoad(t *testing.T) {
	p := open(t)
	info, err := p.objects.Relay.Info()
	t.Log(info, err)
	t.Log(p.hooks.attached)
}
