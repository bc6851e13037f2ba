package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"srtrelay/config"
)

func (s *Shell) configCommand() *cobra.Command {
	c := s.settingsCommand("config [flags]", "print all settings with their values and sources")
	c.Long = "Print every setting as serve would read it from flags, variables and the file: its value, and the\n" +
		"source of the value. Secrets are ***."
	c.Annotations = map[string]string{exitText: "0 printed, 2 serve would not start."}
	c.RunE = func(_ *cobra.Command, args []string) error {
		return s.withSettings(args, func(loaded config.Config) error {
			rows := make([][2]string, 0, len(loaded.Values))
			for _, v := range loaded.Values {
				origin := v.Origin
				if origin == "" {
					origin = "default"
				}
				rows = append(rows, [2]string{"--" + v.Name + " " + v.Text, origin})
			}
			return exit(s.print(columns(rows)))
		})
	}
	return c
}

// settingsCommand returns a command with the flags of serve.
func (s *Shell) settingsCommand(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagParsing: true, DisableFlagsInUseLine: true, ValidArgsFunction: completeSettings,
	}
}

// withSettings reads the settings and calls use with them. A mistake in them ends the command.
func (s *Shell) withSettings(args []string, use func(config.Config) error) error {
	loaded, err := config.Load(args, s.LookupEnv, s.ReadFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exit(s.print(s.usage()))
	case errors.Is(err, config.ErrVersion):
		return exit(s.print(s.versionLine()))
	case err != nil:
		return exit(s.refuse(err))
	}
	return use(loaded)
}
