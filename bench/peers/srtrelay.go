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
	apiAddr = "127.0.0.1:12025"
	// stopPatience is for the relay to end its sessions.
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
		r.Binary, "--listen", front().String(), "--api", apiAddr, "--log-level", "warn", "--grace", "0s",
		"--backend", join(s.Backends, "srt://", ","),
	}
	args = append(append(args, s.Flags...), r.Flags...)
	p, err := s.Origin.Start(lab.Program{Label: r.Label, Args: args, Env: r.Env, CPUs: s.CPUs})
	if err != nil {
		return nil, err
	}
	api := newAPI(s.Origin)
	if err := await(p, api.ready); err != nil {
		p.Kill()
		return nil, err
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, PIDs: []int{p.PID}, API: api,
		Config: strings.Join(append([]string{"srtrelay"}, args[1:]...), " "),
		stop: func() error {
			api.client.CloseIdleConnections()
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

// API asks a relay in its namespace.
type API struct{ client *http.Client }

func newAPI(n *lab.Namespace) *API {
	dial := func(context.Context, string, string) (net.Conn, error) {
		var conn net.Conn
		// The socket belongs to the namespace of the thread that makes it;
		// dialling a literal address stays on this one.
		err := n.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", apiAddr, time.Second)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("dial the relay's API: %w", err)
		}
		return conn, nil
	}
	return &API{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 30 * time.Second}}
}

func (a *API) ready() bool {
	_, err := a.Get("/ready")
	return err == nil
}

// Get returns the body of an answer with status 200.
func (a *API) Get(path string) ([]byte, error) {
	resp, err := a.client.Get("http://" + apiAddr + path)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
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
