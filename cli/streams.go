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
	var all answer.ClusterStreamQuery // with --cluster
	cluster := false
	c := &cobra.Command{
		Use: "streams [KEY]", Short: "list the streams, or show one with its sessions",
		Long: "List the streams of a running relay, or show one with its sessions. The numbers of a stream are\n" +
			"the sums of its sessions; RTT and loss are those of its worst session. With --cluster they are the\n" +
			"streams of all relays that share the Redis: at which relay and on which backend each is.",
		Args: argCount(0, 1, "at most one KEY; quote it if it has characters that are special to the shell"),
		Annotations: map[string]string{
			noteText: "KEY is vhost/app/stream as the list shows it, or app/stream for the default vhost; '' is the default\nroute.",
		},
	}
	a := s.newAPICommand(c)
	stringFlag(c, &q.Backend, "backend", "ID", "only streams on this backend")
	stringFlag(c, &q.Match, "match", "TEXT", "only streams whose key contains TEXT")
	sortFlag(c, &q.Sort)
	limitFlag(c, &q.Limit)
	c.Flags().BoolVar(&cluster, "cluster", false, "the streams of all relays; --sort "+either(answer.ClusterSortOrders))
	stringFlag(c, &all.Relay, "relay", "NAME", "with --cluster: only streams at this relay, by its name or ID")
	a.withListFlags(c)
	c.ValidArgsFunction = a.complete(1, streamKeys)
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	completeFlag(c, "relay", a.complete(-1, relayNames))
	c.RunE = a.run(func(ctx context.Context, c *client.Client, args []string) error {
		switch {
		case all.Relay != "" && !cluster:
			return usageErrorf("--relay: needs --cluster")
		case cluster && len(args) > 0:
			all.Key = &args[0]
			return a.clusterStream(ctx, c, all)
		case len(args) > 0:
			return printAnswer(ctx, a, c, client.Stream(args[0]), a.formatter().Stream)
		}
		orders := answer.SortOrders
		if cluster {
			orders = answer.ClusterSortOrders
		}
		if err := checkOrder(q.Sort, orders); err != nil {
			return err
		}
		if q.Limit < 0 {
			return usageErrorf("--limit: %d: below 0", q.Limit)
		}
		if cluster {
			all.Backend, all.Match, all.Sort, all.Limit = q.Backend, q.Match, q.Sort, q.Limit
			return a.listClusterStreams(ctx, c, all)
		}
		return a.listStreams(ctx, c, q)
	})
	return c
}

// sortFlag defines --sort, also of top.
func sortFlag(c *cobra.Command, to *string) {
	stringFlag(c, to, "sort", "ORDER", either(answer.SortOrders)+"; default "+answer.SortOrders[0])
	completeFlag(c, "sort", cobra.FixedCompletions(answer.SortOrders, cobra.ShellCompDirectiveNoFileComp))
}

// either lists words as help texts do: a, b or c.
func either(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func checkOrder(order string, orders []string) error {
	if order != "" && !slices.Contains(orders, order) {
		return usageErrorf("--sort: %q: not one of %s", order, strings.Join(orders, ", "))
	}
	return nil
}

func limitFlag(c *cobra.Command, to *int) {
	c.Flags().IntVar(to, "limit", answer.DefaultLimit, fmt.Sprintf("at most N, 0 for all; default %d", answer.DefaultLimit))
	placeholder(c, "limit", "N")
}

// streamPage is one page of the list, with its streams as JSON.
type streamPage struct {
	Streams []json.RawMessage `json:"streams"`
	Total   int               `json:"total"`
	TakenAt json.RawMessage   `json:"taken_at"`
}

// streamsByPage reads a list of streams page by page, at most limit of them, 0 for all. get
// reads the streams from an offset on, and returns how many there are in all. A stream that
// changes its place meanwhile may be on two pages; it is returned once.
func streamsByPage(limit int, get func(offset, limit int) (page []json.RawMessage, total int, err error)) ([]json.RawMessage, error) {
	var all []json.RawMessage
	seen := map[string]bool{}
	for offset := 0; ; {
		most := nextLimit(limit, len(all))
		page, total, err := get(offset, most)
		if err != nil {
			return nil, err
		}
		keys, err := decodeAll[struct{ Key string }](page)
		if err != nil {
			return nil, err
		}
		for i, key := range keys {
			if !seen[key.Key] {
				seen[key.Key] = true
				all = append(all, page[i])
			}
		}
		offset += len(page)
		if len(page) < most || offset >= total || limit > 0 && len(all) >= limit {
			return all, nil
		}
	}
}

// listStreams prints the list.
func (a *apiCommand) listStreams(ctx context.Context, c *client.Client, q answer.StreamQuery) error {
	var all streamPage
	streams, err := streamsByPage(q.Limit, func(offset, limit int) ([]json.RawMessage, int, error) {
		q.Offset, q.Limit = offset, limit
		page, err := client.Call[streamPage](client.Streams(q)).Do(ctx, c)
		all = page
		return page.Streams, page.Total, err
	})
	if err != nil {
		return err
	}
	all.Streams = streams
	if a.json {
		return a.printJSON(all)
	}
	list, err := decodeAll[answer.Stream](all.Streams)
	if err != nil {
		return err
	}
	code := a.shell.print(a.formatter().Streams(list))
	if len(list) < all.Total {
		a.reportMore(len(list), fmt.Sprintf("of %d ", all.Total), "streams")
	}
	return exit(code)
}

// nextLimit returns the size of the next page.
func nextLimit(limit, have int) int {
	if limit == 0 {
		return answer.MaxLimit
	}
	return min(limit-have, answer.MaxLimit)
}

// printJSON prints a list of several pages.
func (a *apiCommand) printJSON(list any) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return exit(a.shell.print(string(client.Indent(raw))))
}
