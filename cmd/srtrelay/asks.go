package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

func (s *shell) shardsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "shards", Short: "list the workers and every drop by reason",
		Long: "List the workers of a running relay with their counters since its start, and every drop by\nreason.",
		Args: takes(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	a := s.asks(c).shows(c)
	c.RunE = a.with(func(ctx context.Context, c *client.Client, _ []string) error {
		return ask(ctx, a, c, client.Shards(), a.show().Shards)
	})
	return c
}

// eventKinds are the values of --kind.
var eventKinds = []string{
	"session-begun", "session-ended", "caller-rejected", "more-rejected", "backend-gone", "backend-registered",
	"backend-changed", "backend-removed", "rules-changed",
}

func (s *shell) eventsCommand() *cobra.Command {
	var q client.EventQuery
	c := &cobra.Command{
		Use: "events", Short: "follow what happens: connects, ends, rejections, backends",
		Long: "Follow what happens at a running relay until Ctrl-C: connects, ends, rejections, changes of\n" +
			"backends and rules. A relay that restarts is found again.",
		Args: takes(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "With --json each event is one line of JSON."},
	}
	a := s.asks(c)
	c.Flags().StringSliceVar(&q.Kinds, "kind", nil, "only events of this kind; repeatable")
	placeholder(c, "kind", "KIND")
	textFlag(c, &q.Stream, "stream", "KEY", "only events of this stream")
	a.shows(c)
	completeFlag(c, "kind", cobra.FixedCompletions(eventKinds, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	c.RunE = a.with(func(ctx context.Context, c *client.Client, _ []string) error {
		return c.Follow(ctx, q, client.Feed{
			Event: func(e answer.Event, raw []byte) error {
				line := string(answer.EscapeJSON(raw))
				if !a.json {
					line = a.show().Event(e)
				}
				return exit(s.say(strings.TrimRight(line, "\n") + "\n"))
			},
			Away: func(err error) { fmt.Fprintf(s.stderr, "relay away, retrying: %v\n", err) },
			Back: func() { fmt.Fprintln(s.stderr, "connected again") },
		})
	})
	return c
}

func (s *shell) topCommand() *cobra.Command {
	var o term.TopOptions
	c := &cobra.Command{
		Use: "top", Short: "watch a running relay: shards, backends, streams, sessions",
		Long: "Watch a running relay: totals, shards, backends, and the streams by bitrate, RTT or loss.\n" +
			"Enter opens a stream and then a session. The key ? tells all keys.",
		Args: takes(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "NO_COLOR in the environment turns colours off."},
	}
	a := s.asks(c)
	textFlag(c, &o.Sort, "sort", "ORDER", "bitrate, rtt, loss, sessions, key or since; default bitrate")
	textFlag(c, &o.Match, "match", "TEXT", "only streams whose key contains TEXT")
	textFlag(c, &o.Backend, "backend", "ID", "only streams on this backend")
	c.Flags().BoolVar(&o.Exact, "exact", false, "exact numbers in base units")
	completeFlag(c, "sort", cobra.FixedCompletions(streamOrders, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	c.RunE = a.with(func(ctx context.Context, c *client.Client, _ []string) error {
		if err := checkOrder(o.Sort); err != nil {
			return err
		}
		if !term.Is(s.stdin) || !term.Is(s.stdout) {
			return misused("standard input and output must be a terminal; srtrelay streams prints a table anywhere")
		}
		// What is wrong from the start is told in one line, not on a screen.
		if _, err := client.GetVersions().Ask(ctx, c); err != nil {
			return err
		}
		o.In, o.Out, o.Env = s.stdin, s.stdout, s.environ()
		return term.Top(ctx, c, o)
	})
	return c
}
