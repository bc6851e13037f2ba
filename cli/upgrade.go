package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"srtrelay/config"
	"srtrelay/relay/takeover"
)

// binaryFlag names the program to start; the other arguments are the new relay's.
const binaryFlag = "--binary"

func (s *Shell) upgradeCommand() *cobra.Command {
	c := s.settingsCommand("upgrade [--binary PATH] [flags of serve]", "replace the running relay; no stream notices")
	c.Long = "Start a relay that takes all sockets and sessions over from the running one, which then ends. It has\n" +
		"the settings that are given here, as serve would read them. If it fails, or does not work within 5 s\n" +
		"after the take-over, the running relay goes on. An older program without migration leaves callers\n" +
		"that have moved to another address without data, so that they must connect again."
	c.Annotations = map[string]string{
		noteText: "The two find each other by --takeover-socket. --shards may not differ.",
		exitText: "0 taken over, 1 not, and the running relay goes on, 2 the command line is wrong.",
	}
	c.Flags().String(strings.TrimPrefix(binaryFlag, "--"), "", "program of the new relay; default this one")
	c.Flags().Lookup(strings.TrimPrefix(binaryFlag, "--")).Annotations = map[string][]string{argText: {"PATH"}}
	c.ValidArgsFunction = completeUpgrade
	c.RunE = func(c *cobra.Command, args []string) error {
		if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
			return exit(s.print(s.usageOf(c)))
		}
		binary, args, err := cutBinary(args)
		if err != nil {
			return err
		}
		return s.upgrade(c.Context(), binary, args)
	}
	return c
}

// upgrade launches the new relay and prints its verdict.
func (s *Shell) upgrade(ctx context.Context, binary string, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, takeover.LaunchTimeout)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-s.Signals:
			cancel()
		case <-ended:
		}
	}()
	v, err := s.Launch(ctx, binary, append(append([]string{"serve"}, args...), "--takeover="+config.TakeOverRequire))
	if err != nil {
		return err
	}
	from := fmt.Sprintf("pid %d", v.PID)
	if v.PID == 0 {
		from = "a relay in another PID namespace"
	}
	return exit(s.print(fmt.Sprintf("took over from %s in %d ms, %s\n", from, v.Took.Milliseconds(), counted(v.Sessions, "session"))))
}

// cutBinary takes --binary out of the arguments. By default it is the program that runs.
func cutBinary(args []string) (binary string, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch {
		case name != binaryFlag:
			rest = append(rest, args[i])
			continue
		case !joined && i+1 < len(args):
			i++
			value = args[i]
		}
		if value == "" {
			return "", nil, usageErrorf("%s: value missing", binaryFlag)
		}
		binary = value
	}
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return "", nil, errors.Join(errors.New("use "+binaryFlag), err)
		}
	}
	return binary, rest, nil
}

// completeUpgrade completes --binary and the flags of serve.
func completeUpgrade(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 && args[len(args)-1] == binaryFlag || strings.HasPrefix(begun, binaryFlag+"=") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	found, directive := completeSettings(c, args, begun)
	if strings.HasPrefix(begun, "-") && strings.HasPrefix(binaryFlag, begun) {
		found = append(found, cobra.CompletionWithDesc(binaryFlag, "program of the new relay"))
	}
	return found, directive
}
