// Command srtrelay relays SRT callers to SRT backends, and asks a running relay
// about its work. Package relay is the relay, package cli the command line;
// this package joins them to the process.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"srtrelay/cli"
	"srtrelay/config"
	"srtrelay/relay"
	"srtrelay/relay/takeover"
)

// version is set by the linker; see buildVersion.
var version string

func main() {
	// Three: the third signal must not be lost while the second is handled.
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	version := buildVersion()
	report := takeover.OpenReport()
	shell := cli.Shell{
		Version:   version,
		LookupEnv: os.LookupEnv,
		Environ:   os.Environ,
		ReadFile:  os.ReadFile,
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Signals:   signals,
		Serve: func(c config.Config) (started bool, err error) {
			return relay.Serve(c, version, os.Stderr, signals, report)
		},
		Launch: func(ctx context.Context, binary string, args []string) (takeover.Verdict, error) {
			// Standard output is for the verdict: what reads it must not wait for the new
			// relay's end.
			return takeover.Launch(ctx, takeover.Program{
				Path: binary, Args: args, Env: os.Environ(), Stdout: os.Stderr, Stderr: os.Stderr,
			})
		},
		Keep:   func(c config.Config, args []string) (int, error) { return relay.Keep(c, os.Stderr, args) },
		Report: report,
	}
	os.Exit(shell.Run(os.Args[1:]))
}

// buildVersion is what the linker was told, or else what the toolchain noted
// of the module or the commit.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return setting.Value[:12]
		}
	}
	return "devel"
}
