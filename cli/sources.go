package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) sourcesCommand() *cobra.Command {
	var q answer.SourceQuery
	var subnets bool
	c := &cobra.Command{
		Use: "sources", Short: "list the addresses that have the most sessions",
		Long: "List the caller addresses of a running relay that have the most sessions (IPv6: the /64s), with what\n" +
			"counts for limits: connects per second, bitrate, and how many callers were refused at which limit.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	a := s.newAPICommand(c)
	c.Flags().BoolVar(&subnets, "subnets", false, "by /24 (IPv6: by /56)")
	stringFlag(c, &q.Sort, "sort", "ORDER", either(answer.SourceOrders)+"; default "+answer.SourceOrders[0])
	completeFlag(c, "sort", cobra.FixedCompletions(answer.SourceOrders, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().IntVar(&q.Limit, "limit", answer.DefaultLimit, fmt.Sprintf("at most N, up to %d; default %d", answer.MaxLimit, answer.DefaultLimit))
	placeholder(c, "limit", "N")
	a.withListFlags(c)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		switch {
		case q.Sort != "" && !slices.Contains(answer.SourceOrders, q.Sort):
			return usageErrorf("--sort: %q: not one of %s", q.Sort, strings.Join(answer.SourceOrders, ", "))
		case q.Limit < 1 || q.Limit > answer.MaxLimit:
			return usageErrorf("--limit: %d: not within 1 to %d", q.Limit, answer.MaxLimit)
		case subnets:
			q.Level = answer.LevelSubnet
		}
		return printAnswer(ctx, a, c, client.Sources(q), a.formatter().Sources)
	})
	return c
}
