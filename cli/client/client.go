// Package client calls the HTTP API of a running relay, for the commands: typed calls with the
// types of api/answer, the event feed with reconnects, and captures.
//
// It must not know how an answer is printed, nor anything of the relay except its API.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	// DefaultAPI is the default address of a relay's API.
	DefaultAPI = "127.0.0.1:12025"
	// Timeout bounds a call that is no feed and no capture. A relay waits for its
	// shared state for less.
	Timeout = 10 * time.Second
	// dialTimeout bounds the wait for a host that does not answer.
	dialTimeout = 5 * time.Second
	// maxAnswer is more than the longest list: a thousand sessions of 3 KiB, or as
	// many streams with two minutes of history.
	maxAnswer = 32 << 20
)

// Client calls the API of one relay. Any goroutine may use it. Call Close at the end.
type Client struct {
	scheme string
	api    string
	token  string
	http   http.Client
}

// https stands before an address whose API speaks TLS.
const https = "https://"

// New returns a client of the relay at api, an address as ParseAddress returns it. Every call
// sends the token, unless it is "". With TLS the relay's certificate must be one of roots or
// signed by them, or by those of the system if roots is nil.
func New(api, token string, roots *x509.CertPool) *Client {
	scheme := "http"
	if bare, secure := strings.CutPrefix(api, https); secure {
		scheme, api = "https", bare
	}
	return &Client{scheme: scheme, api: api, token: token, http: http.Client{
		// No proxy: it could not reach the relay's loopback address. No redirects:
		// the API has none, and other hosts must not get the token.
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// API returns the address of the relay's API.
func (c *Client) API() string { return c.api }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// APIError is an error in the relay's answer.
type APIError struct {
	API    string
	Status int
	Text   string
}

// Error implements error.
func (r *APIError) Error() string { return r.API + ": " + r.Text }

// IsNotFound reports whether err is the relay's 404.
func IsNotFound(err error) bool {
	r, ok := errors.AsType[*APIError](err)
	return ok && r.Status == http.StatusNotFound
}

// Call is a call whose answer has data of type T.
type Call[T any] struct {
	method, path string
	query        url.Values
}

// Do makes the call.
func (k Call[T]) Do(ctx context.Context, c *Client) (T, error) {
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

// Raw makes the call and returns the data of the answer as indented JSON.
func (k Call[T]) Raw(ctx context.Context, c *Client) ([]byte, error) {
	raw, err := Call[json.RawMessage](k).Do(ctx, c)
	if err != nil {
		return nil, err
	}
	return Indent(raw), nil
}

// Indent indents JSON and escapes control characters, for a terminal. The values stay the
// same.
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

// Body makes a call and returns the body of the answer, also together with an APIError.
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

// send makes a call and returns the response with its body unread.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header) (*http.Response, error) {
	at := url.URL{Scheme: c.scheme, Host: c.api, RawQuery: query.Encode()}
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

// check returns an APIError if the answer is an error.
func (c *Client) check(response *http.Response, body []byte) error {
	var frame struct {
		Code  *int   `json:"code"`
		Error string `json:"error"`
	}
	err := json.Unmarshal(body, &frame)
	switch {
	case response.StatusCode == http.StatusBadRequest && bytes.HasPrefix(body, []byte("Client sent an HTTP request to an HTTPS server")):
		return fmt.Errorf("%s speaks TLS: give --api https://%s, with a name that its certificate has", c.api, c.api)
	case err != nil:
		return fmt.Errorf("%s is no srtrelay, or another version: %w", c.api, err)
	case frame.Code == nil:
		return fmt.Errorf("%s is no srtrelay, or another version: no code in its answer", c.api)
	case *frame.Code != 0 || response.StatusCode >= 300:
		return &APIError{c.api, response.StatusCode, errorText(response, frame.Error)}
	}
	return nil
}

// errorText returns the relay's error text or the HTTP status, with a hint for a missing token.
func errorText(response *http.Response, said string) string {
	text := said
	if text == "" {
		text = response.Status
	}
	if response.StatusCode == http.StatusUnauthorized {
		text += "; give --register-token or SRTRELAY_REGISTER_TOKEN, or for what only reads SRTRELAY_READ_TOKEN"
	}
	return text
}

// ParseAddress returns the address to dial for a value of serve's --api: an empty host or the
// unspecified address means this host. With TLS https:// is in front of it.
func ParseAddress(text string) (string, error) {
	bare, front := text, ""
	for _, scheme := range []string{"http://", "tcp://", https} {
		if len(bare) >= len(scheme) && strings.EqualFold(bare[:len(scheme)], scheme) {
			bare = bare[len(scheme):]
			if scheme == https {
				front = https
			}
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
	return front + net.JoinHostPort(host, port), nil
}
