package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/config"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
)

func (s *Shell) checkCommand() *cobra.Command {
	c := s.settingsCommand("check [flags]", "check the settings and the rules, as serve would read them")
	c.Long = "Check the settings and the stream ID rules as serve would read them, with its flags, variables and\n" +
		"file, without starting anything. What is legal but hardly meant is told as a warning."
	c.Annotations = map[string]string{exitText: "0 serve would start, warnings or not, 2 it would not."}
	c.RunE = func(_ *cobra.Command, args []string) error {
		return s.withSettings(args, func(loaded config.Config) error {
			if loaded.Rules != "" {
				if _, err := rules.Open(loaded.Rules, streamid.Check); err != nil {
					return exit(s.refuse(err))
				}
			}
			var b strings.Builder
			for _, line := range s.warnings(loaded) {
				fmt.Fprintf(&b, "warning: %s\n", line)
			}
			fmt.Fprintf(&b, "ok: %s, %s\n", counted(len(loaded.Backends), "static backend"), rulesOf(loaded))
			return exit(s.say(b.String()))
		})
	}
	return c
}

func (s *Shell) configCommand() *cobra.Command {
	c := s.settingsCommand("config [flags]", "print all settings, their values and where they come from")
	c.Long = "Print every setting as serve would read it with its flags, variables and file: its value, and what\n" +
		"said so. Secrets are ***."
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
			return exit(s.say(columns(rows)))
		})
	}
	return c
}

// settingsCommand is a command that takes the flags of serve.
func (s *Shell) settingsCommand(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagParsing: true, DisableFlagsInUseLine: true, ValidArgsFunction: completeSettings,
	}
}

// withSettings reads the settings and goes on with them. A mistake in them ends
// the command.
func (s *Shell) withSettings(args []string, use func(config.Config) error) error {
	loaded, err := config.Load(args, s.LookupEnv, s.ReadFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exit(s.say(s.usage()))
	case errors.Is(err, config.ErrVersion):
		return exit(s.say(s.versionLine()))
	case err != nil:
		return exit(s.refuse(err))
	}
	return use(loaded)
}

// warnings are what serve would warn of at start.
func (s *Shell) warnings(c config.Config) []string {
	return slices.Concat(c.Warnings, config.UnknownVariables(s.Environ()))
}

func rulesOf(c config.Config) string {
	if c.Rules == "" {
		return "no rules"
	}
	return "rules in " + c.Rules
}

// counted is a number with its noun.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
