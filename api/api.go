// Package api is the HTTP control plane. It serves operators, health checks,
// Prometheus and the heartbeats of SRS servers, mostly as JSON; openapi.yaml
// describes every call.
//
// It reads the rest of the relay through the small interfaces below. It must not
// know how a datagram travels or how a backend is chosen, and no shard ever waits
// for it.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/internal/supervise"
	"srtrelay/shard"
	"srtrelay/streamid/rules"
)

// Limits of one request. Answers come from memory, so a client that needs longer is
// stuck or hostile. A profile extends its own write deadline.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
)

// Shards returns a copy of every shard's counters.
type Shards interface {
	Stats() []shard.Stats
}

// Kernel describes the kernel path, but for its sessions.
type Kernel interface {
	KernelPath() answer.KernelPath
}

// Overload says how near the relay is to its limits.
type Overload interface {
	Overload() answer.Overload
}

// Backends returns every backend that the relay knows, sorted by ID; see
// DescribeBackends.
type Backends interface {
	Backends() []answer.Backend
}

// Streams lists sessions and streams, and ends a session; see streams.Watch. The
// lists may be a second old. An unknown ID or key is not an error, a foreign cursor
// is answer.ErrCursor, and any other error means that the shards did not answer.
type Streams interface {
	Sessions(ctx context.Context, q answer.SessionQuery) (answer.SessionList, error)
	Session(ctx context.Context, id string) (answer.Session, bool, error)
	Kick(ctx context.Context, id string) (known bool, err error)
	Streams(ctx context.Context, q answer.StreamQuery) (answer.StreamList, error)
	Stream(ctx context.Context, key string) (answer.StreamDetail, bool, error)
}

// State says whether the relay can take callers.
type State interface {
	// Ready is false, with a reason, while the relay cannot serve callers. If it
	// is true, the reason names a problem that does not count, or is "".
	Ready() (bool, string)
	// Available returns how many backends may get a new stream, and if none may,
	// why.
	Available() (n int, why string)
	// Draining is true after the first stop signal.
	Draining() bool
}

// Registry takes the changes of heartbeats and operators; see backend.Registry.
type Registry interface {
	Snapshot() *backend.Snapshot
	Register(reg backend.Registration, at netip.AddrPort, now time.Time, ttl time.Duration) (backend.Arrival, error)
	Remove(id backend.ID)
}

// Orders takes what an operator orders for a backend, or for all backends of a name. known
// is false if there are none. With a shared state shared says whether all relays follow, or
// Redis gets the order later; without one it is "".
type Orders interface {
	Drain(ctx context.Context, id backend.ID, draining bool) (known bool, shared answer.Sharing)
	// Weight sets the share of new streams, 0 for the configured one.
	Weight(ctx context.Context, id backend.ID, weight int) (known bool, shared answer.Sharing)
}

// Explainer returns where a query would be sent, and why. It changes nothing.
type Explainer interface {
	Explain(q backend.Query) (backend.Target, string, error)
}

// Deps are the parts of the relay that the API serves from.
type Deps struct {
	// Settings are the first ones; see Server.Set.
	Settings
	Shards   Shards
	Kernel   Kernel
	Overload Overload
	Backends Backends
	Streams  Streams
	Sources  Sources
	State    State
	Registry Registry
	Orders   Orders
	// Cluster is nil for a relay that shares no state.
	Cluster   Cluster
	Explainer Explainer
	// Rules are the stream ID rules in force, nil without any.
	Rules *rules.Live
	// Reload reads the configuration file again; see relay. An error other than
	// ErrReloading says what is wrong with it, in one line.
	Reload func(context.Context) (answer.Reload, error)
	// Admit waits while it is not known whether this process goes on, and returns why it
	// must not change anything any more. Nil admits all calls.
	Admit func(context.Context) error
	// Certificate makes the server speak TLS; nil for plain HTTP.
	Certificate *Certificate
	// Connections bounds the server's connections; nil for MaxConnections.
	Connections *Connections
	// Logins are the page's logins; nil for logins that end with this server.
	Logins *Logins
	// Feed holds the events for GET /api/v1/events.
	Feed *Feed
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Capture answers GET /api/v1/capture; nil leaves the path out. The request's
	// context ends when the server shuts down; the handler sets its own deadlines.
	Capture http.Handler
	// Supervisor logs and counts handlers that panic; nil for net/http's own way.
	Supervisor *supervise.Supervisor
	// Page answers GET / and everything below /ui/; nil leaves both out.
	Page http.Handler
}

// Server is the HTTP server. One goroutine calls Listen and then Serve;
// Shutdown may be called from any.
type Server struct {
	http        http.Server
	listener    net.Listener
	connections *Connections
	certificate *Certificate
	handler     *handler
}

// New returns a server of the given version.
func New(version string, deps Deps, log *slog.Logger) *Server {
	h := newHandler(version, deps, log)
	s := &Server{connections: h.deps.Connections, certificate: deps.Certificate, handler: h, http: http.Server{
		Handler:           h.recoverPanics(http.MaxBytesHandler(h.mux(), maxBodyBytes)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         h.deps.Connections.track,
		// OPTIONS * is answered like any other unknown call.
		DisableGeneralOptionsHandler: true,

		ErrorLog: stdlog.New(&connectionLog{log: log}, "", 0),
	}}
	// Shutdown waits for all handlers, and feeds and captures do not end by themselves.
	s.http.RegisterOnShutdown(h.close)
	return s
}

// Listen opens the port, so that a port in use is noticed before Serve.
func (s *Server) Listen(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("open the API: %w", err)
	}
	s.listener = l
	return nil
}

// Adopt takes over a port that another server listens at, or did, instead of Listen. The file
// stays the caller's.
func (s *Server) Adopt(port *os.File) error {
	l, err := net.FileListener(port)
	if err == nil {
		if _, isTCP := l.(*net.TCPListener); !isTCP {
			_ = l.Close()
			err = fmt.Errorf("a socket of %s", l.Addr().Network())
		}
	}
	if err != nil {
		return fmt.Errorf("take over the API's port: %w", err)
	}
	s.listener = l
	return nil
}

// File returns a duplicate of the port's socket, which the caller closes.
func (s *Server) File() (*os.File, error) {
	f, err := s.listener.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("duplicate the API's port: %w", err)
	}
	return f, nil
}

// Addr returns the address that the server listens at.
func (s *Server) Addr() netip.AddrPort {
	return s.listener.Addr().(*net.TCPAddr).AddrPort()
}

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	var l net.Listener = boundedListener{s.listener, s.connections}
	if s.certificate != nil {
		l = tls.NewListener(l, s.certificate.config())
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// Shutdown closes the port and waits for running handlers; when ctx ends first, it
// closes their connections. It also closes a port that was never served.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close() // Serve's own copy may be closed already
	}
	if err != nil {
		return fmt.Errorf("shut down the API: %w", err)
	}
	return nil
}
