package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) eventsCommand() *cobra.Command {
	var q client.EventQuery
	c := &cobra.Command{
		Use: "events", Short: "follow events: sessions, rejections, backends, rules",
		Long: "Follow the events of a running relay until Ctrl-C: sessions that begin or end, rejections,\n" +
			"changes of backends and rules. If the relay restarts, the command reconnects. Past events are\n" +
			"those that the relay still has, the last few thousand of its process.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{noteText: "With --json each event is one line of JSON."},
	}
	a := s.newAPICommand(c)
	c.Flags().StringSliceVar(&q.Kinds, "kind", nil, "only events of this kind; repeatable")
	placeholder(c, "kind", "KIND")
	stringFlag(c, &q.Stream, "stream", "KEY", "only events of this stream")
	stringFlag(c, &q.Since, "since", "TIME", "begin with past events, of the last 10m or since \"2006-01-02 15:04:05\"")
	c.Flags().BoolVar(&q.Once, "no-follow", false, "end after the past events; without --since after all that the relay has")
	a.withOutputFlags(c)
	completeFlag(c, "kind", cobra.FixedCompletions(answer.EventKinds, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		from, err := parseSince(q.Since, time.Now())
		if err != nil {
			return err
		}
		return a.follow(ctx, c, q, from)
	})
	return c
}

// follow prints events. from is where they are to begin, zero for no past events or all of
// them.
func (a *apiCommand) follow(ctx context.Context, c *client.Client, q client.EventQuery, from time.Time) error {
	s, shown := a.shell, 0
	if !from.IsZero() && !isDuration(q.Since) {
		q.Since = from.UTC().Format(time.RFC3339)
	}
	err := c.Follow(ctx, q, client.Feed{
		KeptSince: func(whole time.Time) {
			if whole.After(from) {
				fmt.Fprintf(s.Stderr, "the relay has no events from before %s\n", whole.Local().Format(time.DateTime))
			}
		},
		Event: func(e answer.Event, raw []byte) error {
			shown++
			line := string(answer.EscapeJSON(raw))
			if !a.json {
				line = a.formatter().Event(e)
			}
			return exit(s.print(strings.TrimRight(line, "\n") + "\n"))
		},
		Away: func(err error) { fmt.Fprintf(s.Stderr, "relay away, retrying: %v\n", err) },
		Back: func() { fmt.Fprintln(s.Stderr, "connected again") },
	})
	if err == nil && q.Once && q.Stream != "" && shown == 0 && ctx.Err() == nil {
		err = fmt.Errorf("no event of stream %s", answer.Printable(q.Stream))
	}
	return err
}

// parseSince reads the value of --since: how long ago, or a time; zero for "".
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if isDuration(text) {
		ago, _ := time.ParseDuration(text) // isDuration has read it
		return now.Add(-ago), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	at, err := time.ParseInLocation(time.DateTime, text, time.Local)
	if err != nil {
		return at, usageErrorf("--since: %q: not like 10m, 2006-01-02T15:04:05Z or \"2006-01-02 15:04:05\"", text)
	}
	return at, nil
}

// isDuration reports whether text says how long ago, which the relay reckons by its clock.
func isDuration(text string) bool {
	ago, err := time.ParseDuration(text)
	return err == nil && ago >= 0
}
