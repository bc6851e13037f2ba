package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

// asking is what every command that asks a running relay is told.
type asking struct {
	shell *Shell
	api   string
	token string
	json  bool
	exact bool
}

// asks gives a command the flags by which it finds the relay.
func (s *Shell) asks(c *cobra.Command) *asking {
	a := &asking{shell: s}
	c.Flags().SortFlags = false
	textFlag(c, &a.api, "api", "HOST:PORT", "the relay's API; default "+client.DefaultAPI+"; env SRTRELAY_API, PROXY_SYSTEM_API")
	textFlag(c, &a.token, "register-token", "TOKEN", "what the relay asks of changing calls; safer in SRTRELAY_REGISTER_TOKEN")
	return a
}

// shows gives a command the flags by which it shows its answer.
func (a *asking) shows(c *cobra.Command) *asking {
	c.Flags().BoolVar(&a.json, "json", false, "print the API's data as it is")
	c.Flags().BoolVar(&a.exact, "exact", false, "print exact numbers in base units")
	return a
}

// textFlag defines a flag whose help shows arg for its value.
func textFlag(c *cobra.Command, to *string, name, arg, help string) {
	c.Flags().StringVar(to, name, "", help)
	placeholder(c, name, arg)
}

func placeholder(c *cobra.Command, name, arg string) {
	c.Flags().Lookup(name).Annotations = map[string][]string{argText: {arg}}
}

// client is a client of the relay that the flags or the environment name.
func (a *asking) client() (*client.Client, error) {
	api, token := a.api, a.token
	for _, name := range []string{"SRTRELAY_API", "PROXY_SYSTEM_API"} {
		if api == "" {
			api, _ = a.shell.LookupEnv(name)
		}
	}
	if api == "" {
		api = client.DefaultAPI
	}
	if token == "" {
		token, _ = a.shell.LookupEnv("SRTRELAY_REGISTER_TOKEN")
	}
	dial, err := client.ParseAddress(api)
	if err != nil {
		return nil, &usageError{cause: err}
	}
	return client.New(dial, token), nil
}

// with makes a command of what asks the relay. A signal ends ctx, and once
// more the process.
func (a *asking) with(ask func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
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
				signal.Reset()
				stop()
			}
		}()
		return ask(ctx, c, args)
	}
}

func (a *asking) show() term.Show { return term.Show{Exact: a.exact, Now: time.Now()} }

// ask asks and prints: the API's data, or the text made of it.
func ask[T any](ctx context.Context, a *asking, c *client.Client, call client.Call[T], text func(T) string) error {
	if a.json {
		raw, err := call.Raw(ctx, c)
		if err != nil {
			return err
		}
		return exit(a.shell.say(string(raw)))
	}
	got, err := call.Ask(ctx, c)
	if err != nil {
		return err
	}
	return exit(a.shell.say(text(got)))
}

// decoded reads the items of a list that came as JSON.
func decoded[T any](raw []json.RawMessage) ([]T, error) {
	items := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &items[i]); err != nil {
			return nil, fmt.Errorf("read the relay's answer: %w", err)
		}
	}
	return items, nil
}

// sayMore tells on standard error that there is more than was shown.
func (a *asking) sayMore(shown int, of, what string) {
	fmt.Fprintf(a.shell.Stderr, "%d %s%s shown; --limit 0 shows all\n", shown, of, what)
}
