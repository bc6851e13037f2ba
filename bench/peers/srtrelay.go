//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
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

// Names of the relay whose established sessions the kernel carries.
const (
	KernelPathName       = "srtrelay, kernel path"
	KernelPathAcceptName = "srtrelay, kernel path, accept"
)

// Relay is srtrelay, or a variant of it with a binary or flags of its own.
type Relay struct {
	Label  string
	Binary string
	Flags  []string
	Env    []string
	// Sysctls are the kernel parameters of the origin that it needs, which are set while it
	// runs.
	Sysctls map[string]string
}

// UserSpace is the relay without its kernel path. The setting is a variable of the environment,
// because a binary without a kernel path ignores that, and a variant's flag overrides it.
func UserSpace(label, binary string) Relay {
	return Relay{Label: label, Binary: binary, Env: []string{"SRTRELAY_KERNEL_PATH=off"}}
}

// KernelPath is the relay whose established sessions never reach user space.
func KernelPath(binary string) Relay {
	return Relay{Label: KernelPathName, Binary: binary, Flags: []string{"--kernel-path=require"}}
}

// KernelPathAccept is KernelPath with the cheaper way to local backends, for which the host
// accepts packets from outside with its own addresses as their source.
func KernelPathAccept(binary string) Relay {
	r := KernelPath(binary)
	r.Label, r.Flags = KernelPathAcceptName, append(r.Flags, "--kernel-path-local=accept")
	device := "net.ipv4.conf." + lab.OriginDevice + "."
	r.Sysctls = map[string]string{
		device + "accept_local": "1", device + "route_localnet": "1",
		device + "rp_filter": "0", "net.ipv4.conf.all.rp_filter": "0",
	}
	return r
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
	undo, err := setSysctls(s.Origin, r.Sysctls)
	if err != nil {
		return nil, err
	}
	// At the limits, where a bench goes, the relay would begin to measure less. An older binary
	// ignores the variable.
	env := append([]string{"SRTRELAY_OVERLOAD=off"}, r.Env...)
	p, err := s.Origin.Start(lab.Program{Label: r.Label, Args: args, Env: env, CPUs: s.CPUs})
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	api := NewAPI(s.Origin)
	if err := await(p, api.ready); err != nil {
		p.Kill()
		return nil, errors.Join(err, undo())
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, PIDs: []int{p.PID}, API: api, Config: r.config(args[1:]),
		stop: func() error {
			api.Close()
			select {
			case <-p.Done:
				return errors.Join(p.Failure(), undo()) // it should have lived until now
			default:
			}
			p.Stop(stopPatience)
			return undo()
		},
	}, nil
}

// beside is the direct path on a host where an idle relay runs.
type beside struct{ relay Relay }

// BesideKernelPath is the direct path on a host whose kernel path is on and carries no session:
// what its hooks cost other traffic.
func BesideKernelPath(binary string) Peer { return beside{KernelPath(binary)} }

// BesideName is the name of that path.
const BesideName = "direct, hooks attached"

// Name implements Peer.
func (beside) Name() string { return BesideName }

// Start implements Peer.
func (b beside) Start(s Site) (*Running, error) {
	r, err := b.relay.Start(s)
	if err != nil {
		return nil, err
	}
	r.Targets = s.Exposed
	return r, nil
}

// config is how an operator would start it.
func (r Relay) config(args []string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(r.Sysctls)) {
		lines = append(lines, "sysctl -w "+name+"="+r.Sysctls[name])
	}
	words := slices.Concat(r.Env, []string{"srtrelay"}, args)
	return strings.Join(append(lines, strings.Join(words, " ")), "\n")
}

// setSysctls sets kernel parameters of a namespace; undo restores them.
func setSysctls(n *lab.Namespace, values map[string]string) (undo func() error, err error) {
	before := map[string]string{}
	undo = func() error {
		var failed error
		for name, value := range before {
			failed = errors.Join(failed, n.SetSysctl(name, value))
		}
		return failed
	}
	for name, value := range values {
		was := n.Sysctl(name)
		if err := n.SetSysctl(name, value); err != nil {
			return undo, errors.Join(err, undo())
		}
		before[name] = was
	}
	return undo, nil
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
