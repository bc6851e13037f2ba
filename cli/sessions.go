package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
	"srtrelay/shard"
)

// states are the values of --state, as the API has them.
var states = shard.StateNames()

func (s *Shell) sessionsCommand() *cobra.Command {
	var q answer.SessionQuery
	var stream, caller string
	c := &cobra.Command{
		Use: "sessions [ID]", Short: "list the sessions, or show one in full",
		Long: "List the sessions of a running relay, or show one in full: what was negotiated, the networks on\n" +
			"both sides of the relay, and the traffic in each direction.",
		Args: argCount(0, 1, "at most one ID"),
	}
	a := s.newAPICommand(c)
	stringFlag(c, &stream, "stream", "KEY", "only sessions of this stream; '' for the default route")
	stringFlag(c, &q.Backend, "backend", "ID", "only sessions on this backend")
	stringFlag(c, &caller, "caller", "ADDR", "only sessions of this IP address, or address and port")
	stringFlag(c, &q.Role, "role", "ROLE", either(answer.Roles))
	stringFlag(c, &q.State, "state", "STATE", either(states))
	limitFlag(c, &q.Limit)
	a.withListFlags(c)
	c.ValidArgsFunction = a.complete(1, sessionIDs)
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	completeFlag(c, "role", cobra.FixedCompletions(answer.Roles, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	run := a.run(func(ctx context.Context, client_ *client.Client, args []string) error {
		if len(args) > 0 {
			return printAnswer(ctx, a, client_, client.Session(args[0]), a.formatter().Session)
		}
		if c.Flags().Changed("stream") {
			q.Stream = &stream
		}
		var err error
		if q.Caller, err = parseCaller(caller); err != nil {
			return err
		}
		if q.Limit < 0 {
			return usageErrorf("--limit: %d: below 0", q.Limit)
		}
		return a.listSessions(ctx, client_, q)
	})
	c.RunE = run
	c.AddCommand(s.closeCommand())
	return c
}

// parseCaller reads an IP address with or without a port; "" for any.
func parseCaller(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.AddrPort{}, usageErrorf("--caller: %q: neither an IP address nor address:port", text)
	}
	return netip.AddrPortFrom(ip, 0), nil
}

// sessionPage is one page of the list, with its sessions as JSON.
type sessionPage struct {
	Sessions []json.RawMessage `json:"sessions"`
	Cursor   string            `json:"cursor,omitempty"`
}

func (a *apiCommand) listSessions(ctx context.Context, c *client.Client, q answer.SessionQuery) error {
	limit := q.Limit
	all := sessionPage{Sessions: []json.RawMessage{}}
	for {
		q.Limit = nextLimit(limit, len(all.Sessions))
		page, err := client.Call[sessionPage](client.Sessions(q)).Do(ctx, c)
		if err != nil {
			return err
		}
		all.Sessions = append(all.Sessions, page.Sessions...)
		all.Cursor, q.Cursor = page.Cursor, page.Cursor
		if page.Cursor == "" || limit > 0 && len(all.Sessions) >= limit {
			break
		}
	}
	if len(all.Sessions) == 0 && q.Stream != nil {
		// None that fit the other filters, or a name that no stream has?
		if _, err := client.Stream(*q.Stream).Do(ctx, c); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(all)
	}
	list, err := decodeAll[answer.Session](all.Sessions)
	if err != nil {
		return err
	}
	code := a.shell.print(a.formatter().Sessions(list))
	if all.Cursor != "" {
		a.reportMore(len(list), "", "sessions")
	}
	return exit(code)
}

func (s *Shell) closeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "close ID...", Short: "end sessions: both sides get a SHUTDOWN",
		Long: "End sessions: the caller and the backend get a SHUTDOWN. A caller may connect again.",
		Args: argCount(1, -1, "the ID of a session, or several"),
	}
	a := s.newAPICommand(c)
	c.ValidArgsFunction = a.complete(-1, sessionIDs)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, ids []string) error {
		for _, id := range ids {
			if _, err := client.CloseSession(id).Do(ctx, c); err != nil {
				return err
			}
			if code := s.print(fmt.Sprintf("session %s closed\n", id)); code != exitClean {
				return exit(code)
			}
		}
		return nil
	})
	return c
}
