package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"srtrelay/handshake"
)

const resolveUsage = `Ask a running relay where a stream ID would go, and why. Nothing changes.

Usage:
  srtrelay resolve [flags] STREAMID

Flags:
  --api HOST:PORT  the relay's API; default 127.0.0.1:12025; env SRTRELAY_API, PROXY_SYSTEM_API
  --caller IP      the caller's address, for rules that look at it; default this host's
  --port N         the port that the caller dials, likewise
  --json           print the relay's answer as it came

An empty STREAMID ('') stands for a caller that sends none.
Exit codes: 0 a backend would serve it, 1 the caller would be refused, 2 the relay could not be asked.
`

const (
	// resolveTimeout is above what a relay waits for its shared state.
	resolveTimeout = 10 * time.Second
	// maxAnswer is far above an answer with the longest stream ID.
	maxAnswer = 64 << 10
)

// resolveQuestion is one command line of resolve.
type resolveQuestion struct {
	api  string
	raw  bool
	what url.Values
}

// resolved is the relay's answer; see package api.
type resolved struct {
	Code  int    `json:"code"`
	Error string `json:"error"`
	Data  *struct {
		From    string `json:"from"`
		Told    string `json:"told"`
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

// resolve asks a running relay and prints its answer.
func (s *shell) resolve(args []string) int {
	q, err := s.parseResolve(args)
	if errors.Is(err, flag.ErrHelp) {
		return s.say(resolveUsage)
	}
	if err != nil {
		return s.refuse(fmt.Errorf("resolve: %w", err))
	}
	body, err := q.ask()
	if err != nil {
		return s.refuse(fmt.Errorf("resolve: %w", err))
	}
	var answer resolved
	if err := json.Unmarshal(body, &answer); err != nil {
		return s.refuse(fmt.Errorf("resolve: %s is no srtrelay, or another version: %w", q.api, err))
	}
	if answer.Data == nil {
		return s.refuse(fmt.Errorf("resolve: %s: %s", q.api, answer.Error))
	}
	text := answer.table(q.what.Get("streamid"))
	if q.raw {
		text = string(body)
	}
	if code := s.say(text); code != exitClean || answer.Data.Backend == nil {
		return exitFailed
	}
	return exitClean
}

// parseResolve reads the command line; flags may stand behind the stream ID.
func (s *shell) parseResolve(args []string) (resolveQuestion, error) {
	q := resolveQuestion{what: url.Values{}}
	flags := flag.NewFlagSet("resolve", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&q.api, "api", s.defaultAPI(), "")
	flags.BoolVar(&q.raw, "json", false, "")
	caller, port := flags.String("caller", "", ""), flags.String("port", "", "")
	var ids []string
	for rest := args; ; rest = flags.Args()[1:] {
		if err := flags.Parse(rest); err != nil {
			return q, err
		}
		if flags.NArg() == 0 {
			break
		}
		ids = append(ids, flags.Arg(0))
	}
	if len(ids) != 1 {
		return q, errors.New("takes one stream ID; quote it, for a shell reads # and & itself")
	}
	q.what.Set("streamid", ids[0])
	for name, value := range map[string]string{"caller": *caller, "port": *port} {
		if value != "" {
			q.what.Set(name, value)
		}
	}
	var err error
	q.api, err = dialable(q.api)
	return q, err
}

func (s *shell) defaultAPI() string {
	for _, name := range []string{"SRTRELAY_API", "PROXY_SYSTEM_API"} {
		if text, _ := s.env(name); text != "" {
			return text
		}
	}
	return "127.0.0.1:12025"
}

// dialable turns an address as --api of serve takes it into one to dial: no
// host, or a wildcard, is this host.
func dialable(text string) (string, error) {
	bare := text
	for _, scheme := range []string{"http://", "tcp://"} {
		if len(bare) >= len(scheme) && strings.EqualFold(bare[:len(scheme)], scheme) {
			bare = bare[len(scheme):]
			break
		}
	}
	bare = strings.TrimSuffix(bare, "/")
	if _, err := strconv.ParseUint(bare, 10, 16); err == nil {
		bare = ":" + bare
	}
	host, port, err := net.SplitHostPort(bare)
	if err != nil || strings.ContainsAny(bare, "/?#@ ") {
		return "", fmt.Errorf("--api: %q: not host:port", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("--api: %q: port is not within 1 to 65535", text)
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// ask returns the relay's answer as it came.
func (q resolveQuestion) ask() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	at := url.URL{Scheme: "http", Host: q.api, Path: "/api/v1/resolve", RawQuery: q.what.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", q.api, err)
	}
	// A proxy of the environment's would be asked for the relay's loopback.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // the URL says nothing new, and is long
		}
		return nil, fmt.Errorf("ask %s: %w", q.api, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", q.api, err)
	}
	return body, nil
}

// table is the answer for a person.
func (a *resolved) table(streamID string) string {
	d, text := a.Data, new(bytes.Buffer)
	w := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
	row("stream ID", streamID)
	if d.Told != "" {
		row("told", d.Told+" (by the rules: "+d.From+")")
	}
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

// printable keeps what a stream ID may hold from the terminal.
func printable(s string) string {
	quoted := strconv.Quote(s)
	if plain := quoted[1 : len(quoted)-1]; strings.ContainsAny(s, "\"\\") || plain != s {
		return quoted
	}
	return s
}
