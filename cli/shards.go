package cli

import (
	"context"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
)

func (s *Shell) shardsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "shards", Short: "list the shards, and all drops by reason",
		Long: "List the shards of a running relay with their counters since its start, and all drops by reason.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	a := s.newAPICommand(c).withListFlags(c)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		return printAnswer(ctx, a, c, client.Shards(), a.formatter().Shards)
	})
	return c
}
