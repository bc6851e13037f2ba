package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

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
		s.backendAction("drain ID...", "give backends no new streams; their sessions go on", func(ctx context.Context, c *client.Client, id string) (string, error) {
			done, err := client.Drain(id, true).Do(ctx, c)
			return "drained" + where(done.Shared), err
		}),
		s.backendAction("undrain ID...", "give backends new streams again", func(ctx context.Context, c *client.Client, id string) (string, error) {
			done, err := client.Drain(id, false).Do(ctx, c)
			return "gets new streams again" + where(done.Shared), err
		}),
		s.weightCommand(),
		s.backendAction("forget ID...", "remove backends that registered; one that lives comes back", func(ctx context.Context, c *client.Client, id string) (string, error) {
			_, err := client.Forget(id).Do(ctx, c)
			return "forgotten", err
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

// where says at which relays an order holds.
func where(s answer.Sharing) string {
	switch s {
	case answer.SharedNow:
		return " at all relays"
	case answer.SharedPending:
		return " at this relay; pending at the others until redis has it"
	}
	return ""
}

// configured is the argument for the weight of the configuration.
const configured = "default"

func (s *Shell) weightCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "weight ID N|default", Short: "give a backend N times the new streams of one of weight 1",
		Long: fmt.Sprintf("Give a backend N times the new streams of one of weight 1, from 1 to %d, whatever is configured;\n", answer.MaxWeight) +
			"default is the configured weight. With --state redis the order holds at all relays that share the\n" +
			"Redis, until somebody orders another weight.",
		Args: argCount(2, 2, "the ID of a backend and a weight"),
	}
	a := s.newAPICommand(c)
	c.ValidArgsFunction = a.complete(1, backendIDs)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, args []string) error {
		weight, text := 0, "its configured weight"
		if args[1] != configured {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 || n > answer.MaxWeight {
				return usageErrorf("%q: neither a weight from 1 to %d nor %s", args[1], answer.MaxWeight, configured)
			}
			weight, text = n, "weight "+args[1]
		}
		done, err := client.Weigh(args[0], weight).Do(ctx, c)
		if err != nil {
			return err
		}
		return exit(s.print(fmt.Sprintf("backend %s has %s%s\n", answer.Printable(args[0]), text, where(done.Shared))))
	})
	return c
}

// backendAction returns a command that calls do for each backend named.
func (s *Shell) backendAction(use, short string, do func(context.Context, *client.Client, string) (done string, err error)) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: capitalized(short) + ".",
		Args: argCount(1, -1, "the ID of a backend, or several"),
	}
	a := s.newAPICommand(c)
	c.ValidArgsFunction = a.complete(-1, backendIDs)
	c.RunE = a.run(func(ctx context.Context, c *client.Client, ids []string) error {
		for _, id := range ids {
			done, err := do(ctx, c, id)
			if err != nil {
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
