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
		Use: "sessions [ID]", Short: "list the sessions, or show one whole",
		Long: "List the sessions of a running relay, or show one whole: what was negotiated, both networks\n" +
			"beside the relay, and what went each way.",
		Args: takes(0, 1, "at most one ID"),
	}
	a := s.asks(c)
	textFlag(c, &stream, "stream", "KEY", "only sessions of this stream; '' for the default route")
	textFlag(c, &q.Backend, "backend", "ID", "only sessions on this backend")
	textFlag(c, &caller, "caller", "ADDR", "only sessions of this IP address, or address and port")
	textFlag(c, &q.Role, "role", "ROLE", either(answer.Roles))
	textFlag(c, &q.State, "state", "STATE", either(states))
	limitFlag(c, &q.Limit)
	a.shows(c)
	c.ValidArgsFunction = a.complete(1, sessionIDs)
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	completeFlag(c, "backend", a.complete(-1, backendIDs))
	completeFlag(c, "role", cobra.FixedCompletions(answer.Roles, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	run := a.with(func(ctx context.Context, client_ *client.Client, args []string) error {
		if len(args) > 0 {
			return ask(ctx, a, client_, client.Session(args[0]), a.show().Session)
		}
		if c.Flags().Changed("stream") {
			q.Stream = &stream
		}
		var err error
		if q.Caller, err = parseCaller(caller); err != nil {
			return err
		}
		if q.Limit < 0 {
			return misused("--limit: %d: below 0", q.Limit)
		}
		return a.listSessions(ctx, client_, q)
	})
	c.RunE = run
	c.AddCommand(s.closeCommand())
	return c
}

// parseCaller reads an IP address with or without port, "" for any.
func parseCaller(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.AddrPort{}, misused("--caller: %q: neither an IP address nor address:port", text)
	}
	return netip.AddrPortFrom(ip, 0), nil
}

// sessionPage is one answer with its sessions as they came.
type sessionPage struct {
	Sessions []json.RawMessage `json:"sessions"`
	Cursor   string            `json:"cursor,omitempty"`
}

func (a *asking) listSessions(ctx context.Context, c *client.Client, q answer.SessionQuery) error {
	limit := q.Limit
	all := sessionPage{Sessions: []json.RawMessage{}}
	for {
		q.Limit = pageOf(limit, len(all.Sessions))
		page, err := client.Call[sessionPage](client.Sessions(q)).Ask(ctx, c)
		if err != nil {
			return err
		}
		all.Sessions = append(all.Sessions, page.Sessions...)
		all.Cursor, q.Cursor = page.Cursor, page.Cursor
		if page.Cursor == "" || limit > 0 && len(all.Sessions) >= limit {
			break
		}
	}
	if a.json {
		return a.sayJSON(all)
	}
	list, err := decoded[answer.Session](all.Sessions)
	if err != nil {
		return err
	}
	code := a.shell.say(a.show().Sessions(list))
	if all.Cursor != "" {
		a.sayMore(len(list), "", "sessions")
	}
	return exit(code)
}

func (s *Shell) closeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "close ID...", Short: "end sessions: both sides get a SHUTDOWN",
		Long: "End sessions: the caller and the backend get a SHUTDOWN. A caller may connect again.",
		Args: takes(1, -1, "the ID of a session, or several"),
	}
	a := s.asks(c)
	c.ValidArgsFunction = a.complete(-1, sessionIDs)
	c.RunE = a.with(func(ctx context.Context, c *client.Client, ids []string) error {
		for _, id := range ids {
			if _, err := client.CloseSession(id).Ask(ctx, c); err != nil {
				return err
			}
			if code := s.say(fmt.Sprintf("session %s closed\n", id)); code != exitClean {
				return exit(code)
			}
		}
		return nil
	})
	return c
}
