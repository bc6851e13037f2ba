package relay

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"srtrelay/config"
	"srtrelay/relay/takeover"
)

// watchUpgrades has a new process take over at each signal, with the arguments and the
// environment of this one.
func watchUpgrades(ctx context.Context, signals <-chan os.Signal, c config.Config, p process) {
	var busy atomic.Bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		switch {
		case c.TakeOverSocket == "":
			p.log.Warn("no upgrade: it needs --takeover-socket", "signal", "SIGUSR2")
		case os.Getpid() == 1:
			p.log.Warn("no upgrade: this process is PID 1 of its container, which would end with it; start a new container with --takeover auto",
				"signal", "SIGUSR2")
		case !busy.CompareAndSwap(false, true):
			p.log.Warn("no second upgrade: one is under way", "signal", "SIGUSR2")
		default:
			// Nobody waits for this task: if all goes well it outlives this relay.
			p.supervisor.Tasks().Go("upgrade", func() {
				defer busy.Store(false)
				upgrade(p)
			})
		}
	}
}

// upgrade launches a process that takes over. Its time is not over with this relay's, which
// ends when the new process has settled.
func upgrade(p process) {
	ctx, cancel := context.WithTimeout(context.Background(), takeover.LaunchTimeout)
	defer cancel()
	program := takeover.Program{
		Path: ownBinary(os.Args[0]), Args: upgradeArgs(os.Args[1:]), Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
	}
	p.log.Info("upgrade begins", "binary", program.Path)
	if _, err := takeover.Launch(ctx, program); err != nil {
		p.log.Error("upgrade failed, this process goes on", "error", err)
	}
}

// ownBinary finds the binary by the name with which this process was started, so that one
// that has been put in its place, or to which a link now leads, is found. os.Executable
// gives the file that this process runs.
func ownBinary(name string) string {
	found, err := exec.LookPath(name)
	if err == nil {
		return found
	}
	self, _ := os.Executable()
	return cmp.Or(self, name)
}

// upgradeArgs are the arguments of a process that takes over from one with args. Of two
// flags the last counts.
func upgradeArgs(args []string) []string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"serve"}, args...)
	}
	require := "--takeover=" + config.TakeOverRequire
	if args[len(args)-1] == require {
		return args // this process has taken over too
	}
	return append(args[:len(args):len(args)], require)
}
