package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

// apiCommand holds the flags of a command that calls the API of a running relay.
type apiCommand struct {
	shell     *Shell
	api       string
	ca        string
	token     string
	readToken string
	json      bool
	exact     bool
	wide      bool
}

// newAPICommand adds the flags that name the relay.
func (s *Shell) newAPICommand(c *cobra.Command) *apiCommand {
	a := &apiCommand{shell: s}
	c.Flags().SortFlags = false
	stringFlag(c, &a.api, "api", "HOST:PORT", "address or https:// URL; default "+client.DefaultAPI+"; env SRTRELAY_API, PROXY_SYSTEM_API")
	stringFlag(c, &a.ca, "ca", "FILE", "PEM file of the certificates to trust at https://; default the system's; env SRTRELAY_CA")
	stringFlag(c, &a.token, "register-token", "TOKEN", "token for calls that change something; safer in SRTRELAY_REGISTER_TOKEN")
	stringFlag(c, &a.readToken, "read-token", "TOKEN", "token for calls that only read, if the relay has one for them; safer in SRTRELAY_READ_TOKEN")
	return a
}

// withOutputFlags adds the flags that select the form of the output.
func (a *apiCommand) withOutputFlags(c *cobra.Command) *apiCommand {
	c.Flags().BoolVar(&a.json, "json", false, "print the API's data as it is")
	c.Flags().BoolVar(&a.exact, "exact", false, "print exact numbers in base units")
	return a
}

// withListFlags adds the flags of a command that prints tables.
func (a *apiCommand) withListFlags(c *cobra.Command) *apiCommand {
	a.withOutputFlags(c)
	c.Flags().BoolVar(&a.wide, "wide", false, "all columns and whole keys, however wide; else as wide as the terminal, or 80 columns")
	return a
}

// stringFlag defines a flag; arg stands for its value in the help.
func stringFlag(c *cobra.Command, to *string, name, arg, help string) {
	c.Flags().StringVar(to, name, "", help)
	placeholder(c, name, arg)
}

func placeholder(c *cobra.Command, name, arg string) {
	c.Flags().Lookup(name).Annotations = map[string][]string{argText: {arg}}
}

// client returns a client of the relay that the flags or the environment name.
func (a *apiCommand) client() (*client.Client, error) {
	api := cmp.Or(a.api, a.variable("SRTRELAY_API"), a.variable("PROXY_SYSTEM_API"), client.DefaultAPI)
	// Whoever has the token for changes may read too.
	token := cmp.Or(a.token, a.variable("SRTRELAY_REGISTER_TOKEN"), a.readToken, a.variable("SRTRELAY_READ_TOKEN"))
	dial, err := client.ParseAddress(api)
	if err != nil {
		return nil, &usageError{cause: err}
	}
	roots, err := a.roots()
	if err != nil {
		return nil, &usageError{cause: err}
	}
	return client.New(dial, token, roots), nil
}

// roots returns the certificates of --ca, nil for those of the system.
func (a *apiCommand) roots() (*x509.CertPool, error) {
	name := cmp.Or(a.ca, a.variable("SRTRELAY_CA"))
	if name == "" {
		return nil, nil
	}
	text, err := a.shell.ReadFile(name)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the message names the file already
	}
	if err != nil {
		return nil, fmt.Errorf("--ca: %s: %w", name, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s: no certificate in it", name)
	}
	return roots, nil
}

// variable returns a variable of the environment, "" if it is not set.
func (a *apiCommand) variable(name string) string {
	text, set := a.shell.LookupEnv(name)
	if !set {
		return ""
	}
	return text
}

// sameSignal is how long after a signal further ones count as the same: Ctrl-C may come
// twice, from the terminal and from a shell or make that passes it on.
const sameSignal = time.Second

// run returns the function of a command that calls the API. The first signal ends ctx, a
// later one the process.
func (a *apiCommand) run(ask func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, stop := context.WithCancel(command.Context())
		defer stop()
		go func() {
			select {
			case <-ctx.Done():
			case <-a.shell.Signals:
				stop()
				time.Sleep(sameSignal)
				signal.Reset()
			}
		}()
		return ask(ctx, c, args)
	}
}

func (a *apiCommand) formatter() term.Formatter {
	f := term.Formatter{Exact: a.exact, Colors: term.Colors(a.shell.Stdout, a.shell.Environ()), Now: time.Now()}
	if !a.wide {
		f.Width = term.Width(a.shell.Stdout)
	}
	return f
}

// printAnswer makes the call and prints its data as JSON, or as text.
func printAnswer[T any](ctx context.Context, a *apiCommand, c *client.Client, call client.Call[T], text func(T) string) error {
	if a.json {
		raw, err := call.Raw(ctx, c)
		if err != nil {
			return err
		}
		return exit(a.shell.print(string(raw)))
	}
	got, err := call.Do(ctx, c)
	if err != nil {
		return err
	}
	return exit(a.shell.print(text(got)))
}

// decodeAll decodes the items of a list.
func decodeAll[T any](raw []json.RawMessage) ([]T, error) {
	items := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &items[i]); err != nil {
			return nil, fmt.Errorf("read the relay's answer: %w", err)
		}
	}
	return items, nil
}

// reportMore writes to standard error that the list is longer than what was printed.
func (a *apiCommand) reportMore(shown int, of, what string) {
	fmt.Fprintf(a.shell.Stderr, "%d %s%s shown; --limit 0 shows all\n", shown, of, what)
}
