package cli

import (
	"context"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
)

func (s *Shell) shardsCommand() *cobra.Command {
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
