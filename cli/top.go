package cli

import (
	"context"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

func (s *Shell) topCommand() *cobra.Command {
	var o term.TopOptions
	c := &cobra.Command{
		Use: "top", Short: "watch a running relay: shards, backends, streams, sessions",
		Long: "Watch a running relay: totals, shards, backends, and the streams by bitrate, RTT or loss.\n" +
			"Enter opens a stream, and then a session. The key ? shows all keys.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "The variable NO_COLOR turns colours off."},
	}
	a := s.newAPICommand(c)
	sortFlag(c, &o.Sort)
	stringFlag(c, &o.Match, "match", "TEXT", "only streams whose key contains TEXT")
	stringFlag(c, &o.Backend, "backend", "ID", "only streams on this backend")
	c.Flags().BoolVar(&o.Exact, "exact", false, "exact numbers in base units")
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		if err := checkOrder(o.Sort, answer.SortOrders); err != nil {
			return err
		}
		if !term.IsTerminal(s.Stdin) || !term.IsTerminal(s.Stdout) {
			return usageErrorf("standard input and output must be a terminal; srtrelay streams prints a table anywhere")
		}
		// An error at the start is one line, and not a screen.
		if _, err := client.Versions().Do(ctx, c); err != nil {
			return err
		}
		o.In, o.Out, o.Env = s.Stdin, s.Stdout, s.Environ()
		return term.Top(ctx, c, o)
	})
	return c
}
