package cli

import (
	"context"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
)

func (s *Shell) shardsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "shards", Short: "list the shards, and all drops by reason",
		Long: "List the shards of a running relay with their counters since its start, all drops by reason, and how\n" +
			"near the relay is to its limits: the overload step, and what is read at each input.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	a := s.newAPICommand(c).withListFlags(c)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		return printAnswer(ctx, a, c, client.Shards(), a.formatter().Shards)
	})
	return c
}
