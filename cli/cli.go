// Package cli is the command line of srtrelay, with one file per command. serve reads the
// settings and calls a function that runs the relay. Most other commands call the API of a
// running relay (package client) and print the answer (package term).
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
	"srtrelay/relay/takeover"
)

// Exit codes. After 1 a restart may help; after 2 somebody must change something.
const (
	exitClean       = 0
	exitFailed      = 1
	exitCannotStart = 2
)

// Shell is the environment of a command: streams, variables, files and signals.
type Shell struct {
	Version   string
	LookupEnv func(string) (string, bool)
	Environ   func() []string
	ReadFile  func(string) ([]byte, error)
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Signals   <-chan os.Signal // SIGINT and SIGTERM
	// Serve runs the relay until it ends. started is false if it never answered
	// callers.
	Serve func(config.Config) (started bool, err error)
	// Launch starts a program that takes over from the running relay, and waits for its
	// verdict.
	Launch func(ctx context.Context, binary string, args []string) (takeover.Verdict, error)
	// Keep runs relays with some arguments of serve, and starts the next one after a crash. It
	// returns the last one's exit code.
	Keep func(c config.Config, args []string) (code int, err error)
	// Report is where this process reports errors if it was launched; nil if not.
	Report *takeover.Report
}

// Annotations of commands and flags, for the help and the manual page.
const (
	noteText = "note" // of a command: the text below its flags
	exitText = "exit" // of a command: its exit codes, "" for apiExits
	argText  = "arg"  // of a flag: the placeholder of its value
)

// apiExits are the exit codes of commands that call the API of a running relay.
const apiExits = "0 done, 1 the relay cannot be reached or refuses, 2 the command line is wrong."

// commands returns every command in the order of the help. Dispatch, help, completion and
// manual page use it.
func (s *Shell) commands() []*cobra.Command {
	return []*cobra.Command{
		s.serveCommand(), s.keepCommand(), s.upgradeCommand(), s.topCommand(), s.streamsCommand(), s.sessionsCommand(), s.backendsCommand(),
		s.relaysCommand(), s.shardsCommand(), s.sourcesCommand(), s.eventsCommand(), s.captureCommand(), s.resolveCommand(), s.reloadCommand(),
		s.checkCommand(), s.configCommand(), s.completionCommand(), s.manCommand(), s.versionCommand(),
	}
}

// usageError is a mistake in the command line. The exit code is exitCannotStart.
type usageError struct {
	cause error
	whole bool // cause names the command itself
}

// Error implements error.
func (e *usageError) Error() string { return e.cause.Error() }

// Unwrap returns the cause, for errors.Is and errors.As.
func (e *usageError) Unwrap() error { return e.cause }

func usageErrorf(format string, args ...any) error {
	return &usageError{cause: fmt.Errorf(format, args...)}
}

// exitCode ends a command that has already printed its error.
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

// Run runs a command line and returns the exit code. Without a command it runs serve.
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
	s.printError(err)
	if ok {
		return exitCannotStart
	}
	return exitFailed
}

// root is the tree of commands.
func (s *Shell) root() *cobra.Command {
	cobra.EnableCommandSorting = false // commands has its own order
	root := &cobra.Command{Use: "srtrelay", SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs}
	root.AddCommand(s.commands()...)
	root.SetHelpCommand(s.helpCommand(root))
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { s.print(s.usageOf(c)) })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagError(c, err) })
	root.CompletionOptions.DisableDefaultCmd = true // completionCommand replaces it
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	root.InitDefaultHelpCmd()
	return root
}

func known(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
}

// names lists the commands in a sentence: a, b and c.
func names(root *cobra.Command) string {
	var all []string
	for _, c := range visible(root) {
		all = append(all, c.Name())
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// path returns a command's name with its parents, except srtrelay.
func path(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), "srtrelay ")
}

// flagError turns an error of pflag into one of this program's form.
func flagError(c *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return usageErrorf("-%s: unknown flag", short)
		}
		name, _, _ := strings.Cut(unknown.GetSpecifiedName(), "=")
		return usageErrorf("--%s: unknown flag%s", name, nearest(c, name))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usageErrorf("--%s: value missing", missing.GetSpecifiedName())
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		cause := errors.Unwrap(bad)
		for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
			cause = next
		}
		return usageErrorf("--%s: %q: %w", bad.GetFlag().Name, bad.GetValue(), cause)
	}
	return &usageError{cause: err}
}

// nearest returns the end of an error line: the flag with the longest common prefix.
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

// argCount checks the number of arguments; what describes them in the error.
func argCount(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if most == 0 && len(args) > 0 {
			return &usageError{fmt.Errorf("%s takes %s", path(c), what), true}
		}
		if len(args) < least || most >= 0 && len(args) > most {
			return usageErrorf("takes %s", what)
		}
		return nil
	}
}

func (s *Shell) print(text string) int {
	if _, err := io.WriteString(s.Stdout, text); err != nil {
		return exitFailed
	}
	return exitClean
}

func (s *Shell) refuse(err error) int {
	s.printError(err)
	return exitCannotStart
}

// printError prints err as one line. Joined errors have line breaks, and supervisors keep
// only the last line.
func (s *Shell) printError(err error) {
	if s.Report.Fail(err) {
		return // the launcher says so
	}
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	fmt.Fprintf(s.Stderr, "srtrelay: %s\n", answer.Printable(text))
}
