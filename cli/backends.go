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
		Long: "List the backends of a running relay, or show one: health, source, load.",
		Args: argCount(0, 1, "at most one ID"),
	}
	a := s.newAPICommand(c).withListFlags(c)
	c.ValidArgsFunction = a.complete(1, backendIDs)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, args []string) error {
		if len(args) == 0 {
			return printAnswer(ctx, a, c, client.Backends(), a.formatter().Backends)
		}
		return a.oneBackend(ctx, c, args[0])
	})
	c.AddCommand(
		s.backendAction("drain ID...", "give backends no new streams; their sessions go on", "drained", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Drain(id, true).Do(ctx, c)
			return err
		}),
		s.backendAction("undrain ID...", "give backends new streams again", "gets new streams again", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Drain(id, false).Do(ctx, c)
			return err
		}),
		s.backendAction("forget ID...", "remove backends that registered; one that lives comes back", "forgotten", func(ctx context.Context, c *client.Client, id string) error {
			_, err := client.Forget(id).Do(ctx, c)
			return err
		}),
	)
	return c
}

// oneBackend prints one backend of the list, because the API has no call for one, or those
// of a name with several addresses.
func (a *apiCommand) oneBackend(ctx context.Context, c *client.Client, id string) error {
	list, err := client.Backends().Do(ctx, c)
	if err != nil {
		return err
	}
	list.Backends = slices.DeleteFunc(list.Backends, func(b answer.Backend) bool { return b.ID != id && b.Name != id })
	switch len(list.Backends) {
	case 0:
		return fmt.Errorf("no such backend: %s", answer.Printable(id))
	case 1:
		if a.json {
			return a.printJSON(list.Backends[0])
		}
		return exit(a.shell.print(a.formatter().Backend(list.Backends[0])))
	}
	if a.json {
		return a.printJSON(list.Backends)
	}
	return exit(a.shell.print(a.formatter().Backends(list)))
}

// backendAction returns a command that calls do for each backend named.
func (s *Shell) backendAction(use, short, done string, do func(context.Context, *client.Client, string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: capitalized(short) + ".",
		Args: argCount(1, -1, "the ID of a backend, or several"),
	}
	a := s.newAPICommand(c)
	c.ValidArgsFunction = a.complete(-1, backendIDs)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, ids []string) error {
		for _, id := range ids {
			if err := do(ctx, c, id); err != nil {
				return err
			}
			if code := s.print(fmt.Sprintf("backend %s %s\n", answer.Printable(id), done)); code != exitClean {
				return exit(code)
			}
		}
		return nil
	})
	return c
}
