package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"srtrelay/config"
)

func (s *Shell) keepCommand() *cobra.Command {
	c := s.settingsCommand("keep [flags of serve]", "run the relay as a child; streams outlive its crash")
	c.Long = "Run the relay as a child of this process, for hosts and containers without systemd. This process keeps\n" +
		"the relay's sockets and its kernel path, and starts it again after a crash: at once, then with a pause\n" +
		"of 100 ms to 5 s. The next relay goes on with the sessions (--crash-recovery)."
	c.Annotations = map[string]string{
		noteText: "SIGTERM, SIGINT, SIGHUP and SIGUSR2 are passed on to the relay. A relay that takes over after SIGUSR2\n" +
			"is kept as the one before.",
		exitText: "those of serve; 128 and the signal's number if the relay is killed while it stops.",
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
			return exit(s.print(s.usageOf(c)))
		}
		return s.withSettings(args, func(loaded config.Config) error {
			code, err := s.Keep(loaded, args)
			if err != nil {
				return exit(s.refuse(err))
			}
			return exit(code)
		})
	}
	return c
}
