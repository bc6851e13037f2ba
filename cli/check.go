package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/api"
	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
)

func (s *Shell) checkCommand() *cobra.Command {
	c := s.settingsCommand("check [flags]", "check the settings and the rules, as serve would read them")
	c.Long = "Check the settings and the stream ID rules as serve would read them from flags, variables and\n" +
		"files, without starting anything. Valid settings that are probably mistakes are warnings."
	c.Annotations = map[string]string{exitText: "0 serve would start, warnings or not, 2 it would not."}
	c.RunE = func(_ *cobra.Command, args []string) error {
		return s.withSettings(args, func(loaded config.Config) error {
			if loaded.Rules != "" {
				if _, err := rules.Open(loaded.Rules, streamid.Check); err != nil {
					return exit(s.refuse(err))
				}
			}
			if loaded.APICert != "" {
				if _, err := api.OpenCertificate(loaded.APICert, loaded.APIKey); err != nil {
					return exit(s.refuse(err))
				}
			}
			if loaded.CookieSecretFile != "" {
				if _, err := handshake.ReadSecrets(loaded.CookieSecretFile); err != nil {
					return exit(s.refuse(err))
				}
			}
			var b strings.Builder
			for _, line := range s.warnings(loaded) {
				fmt.Fprintf(&b, "warning: %s\n", line)
			}
			fmt.Fprintf(&b, "ok: %s, %s\n", counted(len(loaded.Backends), "static backend"), rulesOf(loaded))
			return exit(s.print(b.String()))
		})
	}
	return c
}

// warnings returns what serve would warn of at its start.
func (s *Shell) warnings(c config.Config) []string {
	return slices.Concat(c.Warnings, config.UnknownVariables(s.Environ()))
}

func rulesOf(c config.Config) string {
	if c.Rules == "" {
		return "no rules"
	}
	return "rules in " + c.Rules
}

// counted returns a number with its noun.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
