//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"srtrelay/bench/lab"
)

const (
	// APIAddr is where a relay's API is, inside its namespace.
	APIAddr = "127.0.0.1:12025"
	// stopPatience is how long the relay may take to end its sessions.
	stopPatience = 3 * time.Second
)

// Relay is srtrelay, or a variant of it with a binary or flags of its own.
type Relay struct {
	Label  string
	Binary string
	Flags  []string
	Env    []string
}

// Name implements Peer.
func (r Relay) Name() string { return r.Label }

// Start implements Peer.
func (r Relay) Start(s Site) (*Running, error) {
	args := []string{
		r.Binary, "--listen", front().String(), "--api", APIAddr, "--log-level", "warn", "--grace", "0s",
		"--backend", join(s.Backends, "srt://", ","),
	}
	args = append(append(args, s.Flags...), r.Flags...)
	p, err := s.Origin.Start(lab.Program{Label: r.Label, Args: args, Env: r.Env, CPUs: s.CPUs})
	if err != nil {
		return nil, err
	}
	api := NewAPI(s.Origin)
	if err := await(p, api.ready); err != nil {
		p.Kill()
		return nil, err
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, PIDs: []int{p.PID}, API: api,
		Config: strings.Join(append([]string{"srtrelay"}, args[1:]...), " "),
		stop: func() error {
			api.Close()
			select {
			case <-p.Done:
				return p.Failure() // it should have lived until now
			default:
			}
			p.Stop(stopPatience)
			return nil
		},
	}, nil
}

// API calls the API of a relay in its namespace.
type API struct {
	client *http.Client
	origin *lab.Namespace
}

// NewAPI returns an API for the relay of a namespace. It makes no call.
func NewAPI(n *lab.Namespace) *API {
	a := &API{origin: n}
	dial := func(context.Context, string, string) (net.Conn, error) { return a.Dial() }
	a.client = &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 30 * time.Second}
	return a
}

// Close closes idle connections.
func (a *API) Close() { a.client.CloseIdleConnections() }

// Dial opens a bare connection to the relay's API.
func (a *API) Dial() (conn net.Conn, err error) {
	// The socket belongs to the namespace of the thread that makes it; dialling
	// a literal address stays on this one.
	err = a.origin.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", APIAddr, time.Second)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial the relay's API: %w", err)
	}
	return conn, nil
}

func (a *API) ready() bool {
	_, err := a.Get("/ready")
	return err == nil
}

// Get returns the body of an answer with status 200.
func (a *API) Get(path string) ([]byte, error) {
	resp, err := a.client.Get("http://" + APIAddr + path)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	return read(path, resp)
}

// Post posts JSON, and returns the body of an answer with status 200.
func (a *API) Post(path, body string) ([]byte, error) {
	resp, err := a.client.Post("http://"+APIAddr+path, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("post to the relay: %w", err)
	}
	return read(path, resp)
}

// Open returns the body of an endless answer, which ends with ctx.
func (a *API) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+APIAddr+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	endless := http.Client{Transport: a.client.Transport}
	resp, err := endless.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, errors.New("ask the relay: " + path + ": " + resp.Status)
	}
	return resp.Body, nil
}

func read(path string, resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("ask the relay: " + path + ": " + resp.Status)
	}
	return body, nil
}
