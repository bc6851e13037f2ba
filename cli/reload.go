package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func (s *Shell) reloadCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "reload", Short: "have a running relay read its configuration file and rules again",
		Long: "Have a running relay read its configuration file, its stream ID rules and its file of cookie secrets\n" +
			"again, as SIGHUP does, and print what has changed. Sessions go on. If a file is wrong, nothing\n" +
			"changes. Flags and variables stay as they were at the start. Settings that need a new process keep\n" +
			"their values: see srtrelay help.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	a := s.newAPICommand(c)
	c.Flags().BoolVar(&a.json, "json", false, "print the API's data as it is")
	c.RunE = a.run(func(ctx context.Context, c *client.Client, _ []string) error {
		return printAnswer(ctx, a, c, client.Reload(), func(r answer.Reload) string {
			for _, line := range r.Warnings {
				fmt.Fprintf(s.Stderr, "warning: %s\n", answer.Printable(line))
			}
			return a.formatter().Reload(r)
		})
	})
	return c
}
