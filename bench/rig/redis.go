//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/lab"
)

// Redis is a redis-server or a sentinel, inside the lab.
type Redis struct {
	Port   int
	origin *lab.Namespace
	args   []string
	proc   *lab.Process // nil while dead
}

// NewRedis returns a Redis at a port, which does not run yet. It has nothing on disk except
// what a cluster or a sentinel needs, in dir.
func NewRedis(origin *lab.Namespace, dir string, port int, args ...string) *Redis {
	own := filepath.Join(dir, "redis-"+strconv.Itoa(port))
	base := []string{
		"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0", "--dir", own,
	}
	return &Redis{Port: port, origin: origin, args: append(base, args...)}
}

// NewSentinel returns a sentinel that watches a master by the name of "relays".
func NewSentinel(origin *lab.Namespace, dir string, port, master, quorum int) (*Redis, error) {
	own := filepath.Join(dir, "redis-"+strconv.Itoa(port))
	if err := os.MkdirAll(own, 0o755); err != nil {
		return nil, fmt.Errorf("make sentinel's directory: %w", err)
	}
	conf := filepath.Join(own, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor relays 127.0.0.1 %d %d\n"+
		"sentinel down-after-milliseconds relays 1000\nsentinel failover-timeout relays 5000\n", port, own, master, quorum)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write sentinel's configuration: %w", err)
	}
	return &Redis{Port: port, origin: origin, args: []string{"redis-server", conf, "--sentinel"}}, nil
}

// Addr is host:port.
func (r *Redis) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.Port) }

// Start runs it until it takes commands.
func (r *Redis) Start(ctx context.Context) error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return errors.New("the program redis-server is not installed")
	}
	for i, a := range r.args {
		if a == "--dir" {
			if err := os.MkdirAll(r.args[i+1], 0o755); err != nil {
				return fmt.Errorf("make redis's directory: %w", err)
			}
		}
	}
	proc, err := r.origin.Start(lab.Program{Label: "redis " + strconv.Itoa(r.Port), Args: r.args})
	if err != nil {
		return err
	}
	r.proc = proc
	return Await(ctx, startPatience, fmt.Sprintf("redis at port %d answers", r.Port), func() bool {
		answer, err := r.Ask(ctx, "ping")
		return err == nil && answer == "PONG"
	})
}

// Kill ends it as SIGKILL does.
func (r *Redis) Kill() {
	if r.proc != nil {
		r.proc.Kill()
		r.proc = nil
	}
}

// Ask runs one command.
func (r *Redis) Ask(ctx context.Context, command ...string) (string, error) {
	return r.origin.Run(ctx, append([]string{"redis-cli", "-p", strconv.Itoa(r.Port)}, command...)...)
}

// Keys are all keys of the server.
func (r *Redis) Keys(ctx context.Context) ([]string, error) {
	text, err := r.Ask(ctx, "--scan")
	return strings.Fields(text), err
}

// Await polls a condition until it holds.
func Await(ctx context.Context, patience time.Duration, what string, done func() bool) error {
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", patience, what)
		}
		if err := Pause(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}
