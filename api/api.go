// Package api is the HTTP control plane: what the relay tells operators,
// probes and SRS servers about itself, as JSON.
//
// It asks the other rooms through the small interfaces below and copies what
// it is given. It must not know how a packet travels or how a backend is
// chosen, and nothing on the path of a packet ever waits for it.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"srtrelay/backend"
	"srtrelay/rules"
	"srtrelay/shard"
)

// Limits of one request. Answers are small and made from memory, so whoever
// needs longer is stuck or hostile; a profile extends its own write deadline.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
)

// Shards gives a copy of every shard's counters.
type Shards interface {
	Stats() []shard.Stats
}

// Backends gives every backend the relay knows.
type Backends interface {
	Backends() []Backend
}

// Loads gives what each backend carries. A backend without load may be
// missing.
type Loads interface {
	Loads() map[backend.ID]Load
}

// State says whether the relay can take callers.
type State interface {
	// Ready is false with a reason until the sockets are open. With true the
	// reason says what is amiss all the same, "" for nothing.
	Ready() (bool, string)
	// Draining is true from the first stop signal on.
	Draining() bool
}

// Registry takes what heartbeats and operators change; see backend.Registry.
type Registry interface {
	Snapshot() *backend.Snapshot
	Register(reg backend.Registration, at netip.AddrPort, now time.Time, ttl time.Duration) (backend.Arrival, error)
	SetDraining(id backend.ID, draining bool) (known bool)
	Remove(id backend.ID)
}

// Resolver says where a query would be sent, and why, and changes nothing.
type Resolver interface {
	Explain(q backend.Query) (backend.Target, string, error)
}

// Load is what one backend carries.
type Load struct {
	Sessions int
	Streams  int
}

// Rooms are whom the API asks.
type Rooms struct {
	Shards   Shards
	Backends Backends
	Loads    Loads
	State    State
	Registry Registry
	Resolver Resolver
	// Rules are the stream ID rules in force, nil without any.
	Rules *rules.Live
	// TTL is how long a heartbeat is good for.
	TTL time.Duration
	// Token is what calls that change something must bring, "" for nothing.
	Token string
	// LocalOnly says that whoever reaches the API is on this host, and that
	// nothing else protects it.
	LocalOnly bool
	// Metrics answers GET /metrics.
	Metrics http.Handler
}

// Server is the HTTP server. One goroutine calls Listen and then Serve;
// Shutdown may be called from any.
type Server struct {
	http     http.Server
	listener net.Listener
}

// New makes a server that answers with the given version and rooms.
func New(version string, rooms Rooms, log *slog.Logger) *Server {
	return &Server{http: http.Server{
		Handler:           http.MaxBytesHandler(newHandler(version, rooms, log), maxBodyBytes),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// Listen opens the port, so that a busy one is known before anything serves.
func (s *Server) Listen(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("open the API: %w", err)
	}
	s.listener = l
	return nil
}

// Addr is where Listen opened the port.
func (s *Server) Addr() netip.AddrPort {
	return s.listener.Addr().(*net.TCPAddr).AddrPort()
}

// Serve answers until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// Shutdown closes the port, waits for answers under way and, when ctx ends
// first, cuts them off. It also closes a port that was never served.
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
