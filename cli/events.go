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
	completeFlag(c, "kind", cobra.FixedCompletions(answer.EventKinds, cobra.ShellCompDirectiveNoFileComp))
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
			Away: func(err error) { fmt.Fprintf(s.Stderr, "relay away, retrying: %v\n", err) },
			Back: func() { fmt.Fprintln(s.Stderr, "connected again") },
		})
	})
	return c
}
