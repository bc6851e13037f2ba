package cli

import "github.com/spf13/cobra"

func (s *Shell) versionLine() string { return "srtrelay " + s.Version + "\n" }

func (s *Shell) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Long: "Print the version.", DisableFlagsInUseLine: true,
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{exitText: "0 printed, 2 the command line is wrong."},
		RunE:        func(*cobra.Command, []string) error { return exit(s.print(s.versionLine())) },
	}
}
