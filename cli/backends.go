package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) backendsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "backends [ID]", Short: "list the backends, or show one",
		Long: "List the backends of a running relay, or show one: health, where it is known from, load.",
		Args: takes(0, 1, "at most one ID"),
	}
	a := s.asks(c).shows(c)
	c.ValidArgsFunction = a.complete(1, backendIDs)
	c.RunE = a.with(func(ctx context.Context, c *client.Client, args []string) error {
		if len(args) == 0 {
			return ask(ctx, a, c, client.Backends(), a.show().Backends)
		}
		return a.oneBackend(ctx, c, args[0])
	})
	c.AddCommand(
		s.changing("drain ID...", "give backends no new streams; what runs there goes on", "drained", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Drain(id, true).Ask(ctx, c)
			return err
		}),
		s.changing("undrain ID...", "give backends new streams again", "gets new streams again", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Drain(id, false).Ask(ctx, c)
			return err
		}),
		s.changing("forget ID...", "remove backends that registered; one that lives comes back", "forgotten", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Forget(id).Ask(ctx, c)
			return err
		}),
	)
	return c
}

// oneBackend picks a backend from the list: the API has no call for one.
func (a *asking) oneBackend(ctx context.Context, c *client.Client, id string) error {
	list, err := client.Backends().Ask(ctx, c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list.Backends, func(b answer.Backend) bool { return b.ID == id })
	if i < 0 {
		return fmt.Errorf("no such backend: %s", answer.Printable(id))
	}
	if a.json {
		return a.sayJSON(list.Backends[i])
	}
	return exit(a.shell.say(a.show().Backend(list.Backends[i])))
}

// changing is a command that does one thing to each of some backends.
func (s *Shell) changing(use, short, done string, do func(context.Context, *client.Client, string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: firstUpper(short) + ".",
		Args: takes(1, -1, "the ID of a backend, or several"),
	}
	a := s.asks(c)
	c.ValidArgsFunction = a.complete(-1, backendIDs)
	c.RunE = a.with(func(ctx context.Context, c *client.Client, ids []string) error {
		for _, id := range ids {
			if err := do(ctx, c, id); err != nil {
				return err
			}
			if code := s.say(fmt.Sprintf("backend %s %s\n", answer.Printable(id), done)); code != exitClean {
				return exit(code)
			}
		}
		return nil
	})
	return c
}
