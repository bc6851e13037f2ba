//go:build linux

// The bench measures what a relayed packet costs, beside what could stand in
// the relay's place. See `go run ./bench -help`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"srtrelay/bench/goproxy"
	"srtrelay/bench/hostile"
	"srtrelay/bench/live"
	"srtrelay/bench/load"
	"srtrelay/bench/report"
	"srtrelay/bench/sink"
	"srtrelay/bench/soak"
	"srtrelay/bench/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errUsage means a wrong command line, which the flag package has reported.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch command, rest := args[0], args[1:]; command {
		case "load":
			return with(rest, "load", load.Flags, func(c *load.Config) error { return load.Run(ctx, *c, os.Stdin, os.Stdout) })
		case "sink":
			return with(rest, "sink", sink.Flags, func(c *sink.Config) error { return sink.Run(ctx, *c, os.Stdin, os.Stdout) })
		case "goproxy":
			return with(rest, "goproxy", goproxy.Flags, func(c *goproxy.Config) error { return goproxy.Run(ctx, c, os.Stderr) })
		case "server":
			return with(rest, "server", live.Flags, func(c *live.ServerConfig) error { return live.Serve(ctx, *c, os.Stdin, os.Stdout) })
		case "hostile":
			return with(rest, "hostile", hostile.Flags, func(o *hostile.Options) error { return hostile.Run(ctx, *o, os.Stdout) })
		case "soak":
			return with(rest, "soak", soak.Flags, func(o *soak.Options) error { return soak.Run(ctx, *o, os.Stdout) })
		case "compare":
			return compare(rest)
		case "help":
			args = []string{"-help"}
		}
	}
	o, err := suite.Parse(args, os.Stdout, usage)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return errUsage
	}
	return suite.Run(ctx, o, os.Stdout)
}

// flagError returns errUsage for an error of the flag package, which has printed it.
func flagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errUsage
}

// compare prints two reports side by side.
func compare(files []string) error {
	if len(files) != 2 {
		return errors.New("compare: two files are needed: bench compare A.json B.json")
	}
	a, err := report.Load(files[0])
	if err != nil {
		return err
	}
	b, err := report.Load(files[1])
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(report.Compare(a, b)); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	return nil
}

// with reads a subcommand's flags and runs it.
func with[C any](args []string, name string, declare func(*flag.FlagSet) *C, run func(*C) error) error {
	fs := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	c := declare(fs)
	if err := fs.Parse(args); err != nil {
		return flagError(err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s: %q: unexpected argument", name, fs.Arg(0))
	}
	return run(c)
}
