package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) streamsCommand() *cobra.Command {
	var q answer.StreamQuery
	c := &cobra.Command{
		Use: "streams [KEY]", Short: "list the streams, or show one with its sessions",
		Long: "List the streams of a running relay, or show one with its sessions. A stream is what its\n" +
			"sessions make together; RTT and loss are of its worst session.",
		Args: takes(0, 1, "at most one KEY; quote it if it holds what a shell reads itself"),
		Annotations: map[string]string{
			noteText: "KEY is vhost/app/stream as the list shows it; '' is the default route.",
		},
	}
	a := s.asks(c)
	textFlag(c, &q.Backend, "backend", "ID", "only streams on this backend")
	textFlag(c, &q.Match, "match", "TEXT", "only streams whose key contains TEXT")
	sortFlag(c, &q.Sort)
	limitFlag(c, &q.Limit)
	a.shows(c)
	c.ValidArgsFunction = a.complete(1, streamKeys)
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	c.RunE = a.with(func(ctx context.Context, c *client.Client, args []string) error {
		if len(args) > 0 {
			return ask(ctx, a, c, client.Stream(args[0]), a.show().Stream)
		}
		if err := checkOrder(q.Sort); err != nil {
			return err
		}
		if q.Limit < 0 {
			return misused("--limit: %d: below 0", q.Limit)
		}
		return a.listStreams(ctx, c, q)
	})
	return c
}

// sortFlag defines --sort, also of top.
func sortFlag(c *cobra.Command, to *string) {
	textFlag(c, to, "sort", "ORDER", either(answer.SortOrders)+"; default "+answer.SortOrders[0])
	completeFlag(c, "sort", cobra.FixedCompletions(answer.SortOrders, cobra.ShellCompDirectiveNoFileComp))
}

// either lists words as help texts do: a, b or c.
func either(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func checkOrder(order string) error {
	if order != "" && !slices.Contains(answer.SortOrders, order) {
		return misused("--sort: %q: not one of %s", order, strings.Join(answer.SortOrders, ", "))
	}
	return nil
}

func limitFlag(c *cobra.Command, to *int) {
	c.Flags().IntVar(to, "limit", answer.DefaultLimit, fmt.Sprintf("at most so many, 0 for all; default %d", answer.DefaultLimit))
	placeholder(c, "limit", "N")
}

// streamPage is one answer with its streams as they came.
type streamPage struct {
	Streams []json.RawMessage `json:"streams"`
	Total   int               `json:"total"`
	TakenAt json.RawMessage   `json:"taken_at"`
}

// listStreams asks page by page. Streams change places between the pages, so
// one may come twice; it is shown once.
func (a *asking) listStreams(ctx context.Context, c *client.Client, q answer.StreamQuery) error {
	limit, seen := q.Limit, map[string]bool{}
	var all streamPage
	for {
		q.Limit = pageOf(limit, len(all.Streams))
		page, err := client.Call[streamPage](client.Streams(q)).Ask(ctx, c)
		if err != nil {
			return err
		}
		keys, err := decoded[struct{ Key string }](page.Streams)
		if err != nil {
			return err
		}
		all.Total, all.TakenAt = page.Total, page.TakenAt
		for i, key := range keys {
			if !seen[key.Key] {
				seen[key.Key] = true
				all.Streams = append(all.Streams, page.Streams[i])
			}
		}
		q.Offset += len(page.Streams)
		if len(page.Streams) < q.Limit || q.Offset >= page.Total || limit > 0 && len(all.Streams) >= limit {
			break
		}
	}
	if a.json {
		return a.sayJSON(all)
	}
	list, err := decoded[answer.Stream](all.Streams)
	if err != nil {
		return err
	}
	code := a.shell.say(a.show().Streams(list))
	if len(list) < all.Total {
		a.sayMore(len(list), fmt.Sprintf("of %d ", all.Total), "streams")
	}
	return exit(code)
}

// pageOf is how many to ask for next.
func pageOf(limit, have int) int {
	if limit == 0 {
		return answer.MaxLimit
	}
	return min(limit-have, answer.MaxLimit)
}

// sayJSON prints a list that was put together from pages.
func (a *asking) sayJSON(list any) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return exit(a.shell.say(string(client.Indent(raw))))
}
