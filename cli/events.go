package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) eventsCommand() *cobra.Command {
	var q client.EventQuery
	c := &cobra.Command{
		Use: "events", Short: "follow events: sessions, rejections, backends, rules",
		Long: "Follow the events of a running relay until Ctrl-C: sessions that begin or end, rejections,\n" +
			"changes of backends and rules. If the relay restarts, the command reconnects.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "With --json each event is one line of JSON."},
	}
	a := s.newAPICommand(c)
	c.Flags().StringSliceVar(&q.Kinds, "kind", nil, "only events of this kind; repeatable")
	placeholder(c, "kind", "KIND")
	stringFlag(c, &q.Stream, "stream", "KEY", "only events of this stream")
	a.withOutputFlags(c)
	completeFlag(c, "kind", cobra.FixedCompletions(answer.EventKinds, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		return c.Follow(ctx, q, client.Feed{
			Event: func(e answer.Event, raw []byte) error {
				line := string(answer.EscapeJSON(raw))
				if !a.json {
					line = a.formatter().Event(e)
				}
				return exit(s.print(strings.TrimRight(line, "\n") + "\n"))
			},
			Away: func(err error) { fmt.Fprintf(s.Stderr, "relay away, retrying: %v\n", err) },
			Back: func() { fmt.Fprintln(s.Stderr, "connected again") },
		})
	})
	return c
}
