package redis

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
)

func TestMain(m *testing.M) {
	// Unless the command line says how many tests run at once: they mostly wait.
	_ = flag.Set("test.parallel", "8") // a number, so that it cannot fail
	goleak.VerifyTestMain(m)
}

// server is a redis-server of the test's own.
type server struct {
	t    *testing.T
	addr string
	args []string
	cmd  *exec.Cmd
	*goredis.Client
}

// startRedis runs a redis-server that keeps nothing on disk.
func startRedis(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, addr: freeaddr.New().String(), args: args}
	s.start()
	s.Client = goredis.NewClient(&goredis.Options{
		Addr: s.addr, Protocol: 2, DisableIdentity: true, DialerRetries: 1,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, // a flood takes a busy machine a while
	})
	t.Cleanup(func() {
		_ = s.Close()
		s.kill()
	})
	return s
}

// executable finds redis-server. Where everything is required, its absence is a
// failure.
func executable(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"redis-server", "/usr/bin/redis-server", "/usr/sbin/redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	need.Skip(t, "redis-server is not installed; `make setup` installs it")
	return ""
}

// start runs the server at its address, until it takes connections.
func (s *server) start() {
	s.t.Helper()
	if testing.Short() {
		need.Skip(s.t, "real servers of Redis take minutes: make test runs this")
	}
	host, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{
		"--port", port, "--bind", host, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir(),
		"--cluster-announce-ip", host, "--replica-announce-ip", host, // or others see where it connects from: 127.0.0.1
	}, s.args...)
	s.run(args)
}

func (s *server) run(args []string) {
	s.t.Helper()
	s.cmd = clocale.Command(executable(s.t), args...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var log strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if strings.Contains(lines.Text(), "Ready to accept") || strings.Contains(lines.Text(), "+monitor master") {
			go func() {
				for lines.Scan() { // until it ends: a full pipe would stop it
				}
			}()
			return
		}
	}
	_ = s.cmd.Wait()
	s.t.Fatalf("redis-server has ended:\n%s", log.String())
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startCluster runs a cluster of one node, which refuses every command on
// keys of two slots as a large one does.
func startCluster(t *testing.T) *server {
	t.Helper()
	s := startRedis(t, "--cluster-enabled", "yes")
	must(t, s.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	until(t, "the cluster to be whole", func() bool {
		return strings.Contains(s.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
	})
	return s
}

// startSentinel runs a sentinel that watches a server, and returns its address.
func startSentinel(t *testing.T, s *server, master string, settings ...string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	own := freeaddr.New()
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind %v\ndir %s\nsentinel monitor %s %s %s 1\n", own.Port(), own.Addr(), t.TempDir(), master, host, port)
	for _, line := range settings {
		text += "sentinel " + line + "\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := &server{t: t}
	sentinel.run([]string{conf, "--sentinel"})
	t.Cleanup(sentinel.kill)
	return own.String()
}

// until polls a condition until it holds.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(2 * time.Minute); !done(); {
		select {
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
