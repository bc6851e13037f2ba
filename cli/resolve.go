package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"srtrelay/api/answer"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
	"srtrelay/handshake"
)

func (s *Shell) resolveCommand() *cobra.Command {
	var caller, port string
	c := &cobra.Command{
		Use: "resolve STREAMID", Short: "ask where a stream ID would go, and why",
		Long: "Ask a running relay where a stream ID would go, and why. Nothing changes.",
		Args: argCount(1, 1, "one stream ID; quote it, for a shell reads # and & itself"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{
			noteText: "An empty STREAMID ('') stands for a caller that sends none.",
			exitText: "0 a backend would serve it, 1 the caller would be refused, 2 the relay could not be asked.",
		},
	}
	a := s.newAPICommand(c)
	stringFlag(c, &caller, "caller", "IP", "the caller's address, for rules that look at it; default this host's")
	stringFlag(c, &port, "port", "N", "the port that the caller dials, for rules that look at it; default none")
	c.Flags().BoolVar(&a.json, "json", false, "print the relay's answer as it came")
	c.RunE = a.run(func(ctx context.Context, c *client.Client, args []string) error {
		what := url.Values{"streamid": args}
		for name, value := range map[string]string{"caller": caller, "port": port} {
			if value != "" {
				what.Set(name, value)
			}
		}
		return a.resolve(ctx, c, what)
	})
	return c
}

// resolveReply is the relay's answer; see package api.
type resolveReply struct {
	Code  int    `json:"code"`
	Error string `json:"error"`
	Data  *struct {
		From    string `json:"from"`
		Told    string `json:"told"`
		Dialect string `json:"dialect"`
		Vhost   string `json:"vhost"`
		App     string `json:"app"`
		Stream  string `json:"stream"`
		Params  string `json:"params"`
		Mode    string `json:"mode"`
		Key     string `json:"key"`
		Backend *struct {
			ID      string `json:"id"`
			Address string `json:"address"`
		} `json:"backend"`
		Why    string         `json:"why"`
		Reject handshake.Code `json:"reject"`
	} `json:"data"`
}

// resolve makes the call and prints the answer, which may be a rejection.
func (a *apiCommand) resolve(ctx context.Context, c *client.Client, what url.Values) error {
	body, err := c.Body(ctx, http.MethodGet, "/api/v1/resolve", what)
	var answer resolveReply
	if len(body) > 0 {
		if cannotRead := json.Unmarshal(body, &answer); cannotRead != nil {
			return usageErrorf("%s is no srtrelay, or another version: %w", c.API(), cannotRead)
		}
	}
	if answer.Data == nil {
		if err == nil {
			err = fmt.Errorf("%s is no srtrelay, or another version: no data in its answer", c.API())
		}
		return &usageError{cause: err}
	}
	text := answer.table(what.Get("streamid"))
	if a.json {
		text = string(body)
	}
	if code := a.shell.print(text); code != exitClean || answer.Data.Backend == nil {
		return exitCode(exitFailed)
	}
	return nil
}

// table returns the answer as text.
func (a *resolveReply) table(streamID string) string {
	d, text := a.Data, new(bytes.Buffer)
	w := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, answer.Printable(value))
		}
	}
	row("stream ID", streamID)
	if d.Told != "" {
		row("told", d.Told+" (by the rules: "+d.From+")")
	}
	row("dialect", d.Dialect)
	row("vhost", d.Vhost)
	row("app", d.App)
	row("stream", d.Stream)
	row("params", d.Params)
	row("mode", d.Mode)
	row("key", d.Key)
	if d.Backend != nil {
		row("backend", d.Backend.ID)
		if d.Backend.Address != d.Backend.ID {
			row("address", d.Backend.Address)
		}
	} else {
		row("refused", d.Reject.String())
	}
	row("why", d.Why)
	_ = w.Flush() // into memory
	return text.String()
}
