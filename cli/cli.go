// Package cli is the command line of srtrelay: one file per command. `serve`
// reads the settings and hands them to a function that runs the relay; all
// other commands ask a running relay by its API (package client) and show the
// answer (package term).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"srtrelay/api/answer"
	"srtrelay/config"
)

// Exit codes. A supervisor may restart after 1; after 2 a person must look.
const (
	exitClean       = 0
	exitFailed      = 1
	exitCannotStart = 2
)

// Shell is what a command has of the process around it.
type Shell struct {
	Version   string
	LookupEnv func(string) (string, bool)
	Environ   func() []string
	ReadFile  func(string) ([]byte, error)
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Signals   <-chan os.Signal // SIGINT and SIGTERM
	// Serve runs the relay until it ends. started says whether it answered
	// callers.
	Serve func(config.Config) (started bool, err error)
}

// Annotations of commands and flags, from which help and man page are made.
const (
	noteText = "note" // of a command: what stands below its flags
	exitText = "exit" // of a command: its exit codes, "" for askingExits
	argText  = "arg"  // of a flag: the placeholder of its value
)

// askingExits are the exit codes of commands that ask a running relay.
const askingExits = "0 done, 1 the relay cannot be reached or refuses, 2 the command line is wrong."

// table is every command, in the order in which they are told. Dispatch, help,
// completion and man page are made from it.
func (s *Shell) table() []*cobra.Command {
	return []*cobra.Command{
		s.serveCommand(), s.topCommand(), s.streamsCommand(), s.sessionsCommand(), s.backendsCommand(),
		s.shardsCommand(), s.eventsCommand(), s.captureCommand(), s.resolveCommand(),
		s.checkCommand(), s.configCommand(), s.completionCommand(), s.manCommand(), s.versionCommand(),
	}
}

// usageError is a command line that cannot be meant: exitCannotStart.
type usageError struct {
	cause error
	whole bool // it names the command itself
}

// Error implements error.
func (e *usageError) Error() string { return e.cause.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *usageError) Unwrap() error { return e.cause }

func misused(format string, args ...any) error {
	return &usageError{cause: fmt.Errorf(format, args...)}
}

// exitCode ends a command that has said what there is to say.
type exitCode int

// Error implements error.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exit is nil for exitClean.
func exit(code int) error {
	if code == exitClean {
		return nil
	}
	return exitCode(code)
}

// Run runs one command line and returns its exit code. Without a command the
// flags are those of serve.
func (s *Shell) Run(args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"serve"}, args...)
	}
	completes := args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd
	if completes && len(args) > 1 && strings.HasPrefix(args[1], "-") {
		args = slices.Insert(slices.Clone(args), 1, "serve")
	}
	root := s.root()
	if !completes && !known(root, args[0]) {
		return s.refuse(fmt.Errorf("unknown command %q, there are %s", args[0], names(root)))
	}
	root.SetArgs(args)
	command, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitClean
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	usage, ok := errors.AsType[*usageError](err)
	if !ok || !usage.whole {
		err = fmt.Errorf("%s: %w", path(command), err)
	}
	s.complain(err)
	if ok {
		return exitCannotStart
	}
	return exitFailed
}

// root is the tree of commands.
func (s *Shell) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the table has its order
	root := &cobra.Command{Use: "srtrelay", SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs}
	root.AddCommand(s.table()...)
	root.SetHelpCommand(s.helpCommand(root))
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { s.say(s.usageOf(c)) })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagError(c, err) })
	root.CompletionOptions.DisableDefaultCmd = true // there is our own
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	root.InitDefaultHelpCmd()
	return root
}

func known(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
}

// names lists the commands as a person says it.
func names(root *cobra.Command) string {
	var all []string
	for _, c := range visible(root) {
		all = append(all, c.Name())
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// path is a command's name with those of the commands above it, but srtrelay.
func path(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), "srtrelay ")
}

// flagError says in our words what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return misused("-%s: unknown flag", short)
		}
		name, _, _ := strings.Cut(unknown.GetSpecifiedName(), "=")
		return misused("--%s: unknown flag%s", name, nearest(c, name))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return misused("--%s: value missing", missing.GetSpecifiedName())
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		cause := errors.Unwrap(bad)
		for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
			cause = next
		}
		return misused("--%s: %q: %w", bad.GetFlag().Name, bad.GetValue(), cause)
	}
	return &usageError{cause: err}
}

// nearest ends an error line with the flag that begins or ends as name does.
func nearest(c *cobra.Command, name string) string {
	best, score := "", 1
	c.Flags().VisitAll(func(f *pflag.Flag) {
		n := 0
		for n < min(len(name), len(f.Name)) && name[n] == f.Name[n] {
			n++
		}
		if n > score {
			best, score = f.Name, n
		}
	})
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", "--"+best)
}

// takes checks how many arguments there are; what is what they should be.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if most == 0 && len(args) > 0 {
			return &usageError{fmt.Errorf("%s takes %s", path(c), what), true}
		}
		if len(args) < least || most >= 0 && len(args) > most {
			return misused("takes %s", what)
		}
		return nil
	}
}

func (s *Shell) say(text string) int {
	if _, err := io.WriteString(s.Stdout, text); err != nil {
		return exitFailed
	}
	return exitClean
}

func (s *Shell) refuse(err error) int {
	s.complain(err)
	return exitCannotStart
}

// complain prints err as one line whatever it holds: joined errors have line
// breaks, and supervisors keep the last line.
func (s *Shell) complain(err error) {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	fmt.Fprintf(s.Stderr, "srtrelay: %s\n", answer.Printable(text))
}
