package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) relaysCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "relays", Short: "list the relays that share the state with this one",
		Long: "List the relays that share a Redis with a running relay, and which of them are away. * is the relay\n" +
			"that answers. The last row sums up those that are alive; a stream at two of them counts once.",
		Args: argCount(0, 0, "no arguments"),
	}
	a := s.newAPICommand(c).withListFlags(c)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		return printAnswer(ctx, a, c, client.Relays(), func(list answer.RelayList) string {
			a.reportShared(list.SharedState)
			return a.formatter().Relays(list)
		})
	})
	return c
}

// reportShared writes to standard error that a view is not the present one.
func (a *apiCommand) reportShared(v answer.SharedState) {
	if text := a.formatter().SharedState(v); text != "" {
		fmt.Fprintln(a.shell.Stderr, text)
	}
}

// clusterStream prints one stream of all relays.
func (a *apiCommand) clusterStream(ctx context.Context, c *client.Client, q answer.ClusterStreamQuery) error {
	list, err := client.ClusterStreams(q).Do(ctx, c)
	if err != nil {
		return err
	}
	if len(list.Streams) == 0 {
		return fmt.Errorf("no relay has the stream %s", answer.Printable(*q.Key))
	}
	if a.json {
		return a.printJSON(list.Streams[0])
	}
	a.reportShared(list.SharedState)
	return exit(a.shell.print(a.formatter().ClusterStream(list.Streams[0])))
}

// clusterPage is one page of the list, with its streams as JSON.
type clusterPage struct {
	SharedState json.RawMessage   `json:"shared_state"`
	Streams     []json.RawMessage `json:"streams"`
	Total       int               `json:"total"`
	LeftOut     int               `json:"left_out,omitempty"`
}

// listClusterStreams prints the list of all relays' streams.
func (a *apiCommand) listClusterStreams(ctx context.Context, c *client.Client, q answer.ClusterStreamQuery) error {
	var all clusterPage
	streams, err := streamsByPage(q.Limit, func(offset, limit int) ([]json.RawMessage, int, error) {
		q.Offset, q.Limit = offset, limit
		page, err := client.Call[clusterPage](client.ClusterStreams(q)).Do(ctx, c)
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
	list, err := decodeAll[answer.ClusterStream](all.Streams)
	if err != nil {
		return err
	}
	var shared answer.SharedState
	if err := json.Unmarshal(all.SharedState, &shared); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	a.reportShared(shared)
	code := a.shell.print(a.formatter().ClusterStreams(list))
	if len(list) < all.Total {
		a.reportMore(len(list), fmt.Sprintf("of %d ", all.Total), "streams")
	}
	if all.LeftOut > 0 {
		fmt.Fprintf(a.shell.Stderr, "%d more streams are not listed by their relays\n", all.LeftOut)
	}
	return exit(code)
}
