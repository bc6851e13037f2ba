package cli

import (
	"context"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

func (s *Shell) topCommand() *cobra.Command {
	var o term.TopOptions
	c := &cobra.Command{
		Use: "top", Short: "watch a running relay: shards, backends, streams, sessions",
		Long: "Watch a running relay: totals, shards, backends, and the streams by bitrate, RTT or loss.\n" +
			"Enter opens a stream and then a session. The key ? tells all keys.",
		Args: takes(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "NO_COLOR in the environment turns colours off."},
	}
	a := s.asks(c)
	sortFlag(c, &o.Sort)
	textFlag(c, &o.Match, "match", "TEXT", "only streams whose key contains TEXT")
	textFlag(c, &o.Backend, "backend", "ID", "only streams on this backend")
	c.Flags().BoolVar(&o.Exact, "exact", false, "exact numbers in base units")
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	c.RunE = a.with(func(ctx context.Context, c *client.Client, _ []string) error {
		if err := checkOrder(o.Sort); err != nil {
			return err
		}
		if !term.Is(s.Stdin) || !term.Is(s.Stdout) {
			return misused("standard input and output must be a terminal; srtrelay streams prints a table anywhere")
		}
		// What is wrong from the start is told in one line, not on a screen.
		if _, err := client.GetVersions().Ask(ctx, c); err != nil {
			return err
		}
		o.In, o.Out, o.Env = s.Stdin, s.Stdout, s.Environ()
		return term.Top(ctx, c, o)
	})
	return c
}
