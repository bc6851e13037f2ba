// Package client asks a running relay's HTTP API, for whoever sits at a
// terminal: typed calls over the values of api/answer, the event feed with its
// reconnects, and a capture's bytes.
//
// It must not know how an answer is shown, nor anything of the relay but its
// API: it stands on the other end of a connection.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"srtrelay/api/answer"
)

const (
	// DefaultAPI is where a relay answers unless told otherwise.
	DefaultAPI = "127.0.0.1:12025"
	// Timeout bounds one plain call. It is above what a relay waits for its
	// shared state.
	Timeout = 10 * time.Second
	// dialTimeout is what a person waits for a host that says nothing.
	dialTimeout = 5 * time.Second
	// maxAnswer is above the longest list: a thousand sessions of 3 KiB, or as
	// many streams with two minutes of history.
	maxAnswer = 32 << 20
)

// Client asks one relay. Any number of goroutines may use it; Close it at last.
type Client struct {
	api   string
	token string
	http  http.Client
}

// New makes a client of the relay at api, an address as ParseAddress returns
// it. The token goes with every call, "" for none.
func New(api, token string) *Client {
	return &Client{api: api, token: token, http: http.Client{
		// No proxy: one of the environment's would be asked for the relay's
		// loopback. No redirects: the API has none, and the token is not for others.
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// API is the address of the relay.
func (c *Client) API() string { return c.api }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Refusal is an error that the relay answered with.
type Refusal struct {
	API    string
	Status int
	Text   string
}

// Error implements error.
func (r *Refusal) Error() string { return r.API + ": " + r.Text }

// IsNotFound reports whether the relay does not know what was asked for.
func IsNotFound(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Status == http.StatusNotFound
}

// Call is a question whose answer holds a T.
type Call[T any] struct {
	method, path string
	query        url.Values
}

// Ask puts the question.
func (k Call[T]) Ask(ctx context.Context, c *Client) (T, error) {
	var frame answer.Reply[T]
	body, err := c.Body(ctx, k.method, k.path, k.query)
	if err != nil {
		return frame.Data, err
	}
	if err := json.Unmarshal(body, &frame); err != nil {
		return frame.Data, fmt.Errorf("%s is no srtrelay, or another version: %w", c.api, err)
	}
	return frame.Data, nil
}

// Raw puts the question and returns the answer's data as it came, indented.
func (k Call[T]) Raw(ctx context.Context, c *Client) ([]byte, error) {
	raw, err := Call[json.RawMessage](k).Ask(ctx, c)
	if err != nil {
		return nil, err
	}
	return Indent(raw), nil
}

// Indent makes JSON readable, also on a terminal: what that would obey is
// escaped. The values stay the same.
func Indent(raw json.RawMessage) []byte {
	var out bytes.Buffer
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return append(answer.EscapeJSON(raw), '\n')
	}
	out.WriteByte('\n')
	return answer.EscapeJSON(out.Bytes())
}

// Body puts a question and returns the answer as it came, unless it is an
// error.
func (c *Client) Body(ctx context.Context, method, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	response, err := c.send(ctx, method, path, query, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := c.read(response.Body)
	if err != nil {
		return nil, err
	}
	return body, c.check(response, body)
}

func (c *Client) read(from io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", c.api, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("read the answer of %s: longer than %d bytes", c.api, maxAnswer)
	}
	return body, nil
}

// send puts a question and returns the answer with its body unread.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header) (*http.Response, error) {
	at := url.URL{Scheme: "http", Host: c.api, RawQuery: query.Encode()}
	at.Path, at.RawPath = unescaped(path), path
	request, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.api, err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // the URL says nothing new, and is long
		}
		return nil, fmt.Errorf("ask %s: %w", c.api, err)
	}
	return response, nil
}

func unescaped(path string) string {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return path
	}
	return plain
}

// check turns an error of the relay's into a Refusal.
func (c *Client) check(response *http.Response, body []byte) error {
	var frame struct {
		Code  *int   `json:"code"`
		Error string `json:"error"`
	}
	err := json.Unmarshal(body, &frame)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no srtrelay, or another version: %w", c.api, err)
	case frame.Code == nil:
		return fmt.Errorf("%s is no srtrelay, or another version: no code in its answer", c.api)
	case *frame.Code != 0 || response.StatusCode >= 300:
		return &Refusal{c.api, response.StatusCode, refusalText(response, frame.Error)}
	}
	return nil
}

// refusalText is what a person needs to know: the relay's own words, or the
// status, and what to do about a missing token.
func refusalText(response *http.Response, said string) string {
	text := said
	if text == "" {
		text = response.Status
	}
	if response.StatusCode == http.StatusUnauthorized {
		text += "; give --register-token or SRTRELAY_REGISTER_TOKEN"
	}
	return text
}

// ParseAddress turns an address as --api of serve takes it into one to dial:
// no host, or a wildcard, is this host.
func ParseAddress(text string) (string, error) {
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
