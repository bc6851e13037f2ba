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

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/internal/supervise"
	"srtrelay/shard"
	"srtrelay/streamid/rules"
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

// Backends gives every backend the relay knows, by ID; see View.
type Backends interface {
	Backends() []answer.Backend
}

// Streams gives what the sessions say of themselves and their streams, and
// ends one; see streams.Watch. What it gives may be a second old. An ID or a
// key that nobody has is no error, a cursor that it did not make is
// answer.ErrCursor, and any other error means that it cannot tell at present.
type Streams interface {
	Sessions(ctx context.Context, q answer.SessionQuery) (answer.SessionList, error)
	Session(ctx context.Context, id string) (answer.Session, bool, error)
	Kick(ctx context.Context, id string) (known bool, err error)
	Streams(ctx context.Context, q answer.StreamQuery) (answer.StreamList, error)
	Stream(ctx context.Context, key string) (answer.StreamDetail, bool, error)
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

// Rooms are whom the API asks.
type Rooms struct {
	Shards   Shards
	Backends Backends
	Streams  Streams
	State    State
	Registry Registry
	Resolver Resolver
	// Rules are the stream ID rules in force, nil without any.
	Rules *rules.Live
	// TTL is how long a heartbeat is good for.
	TTL time.Duration
	// Token is what calls that change something must bring, "" for nothing.
	Token string
	// Hosts are the names by which the relay may be asked, beside addresses and
	// localhost.
	Hosts []string
	// Connections bounds the server's connections, nil for NewConnections'
	// usual bounds.
	Connections *Connections
	// Feed is what has happened, for GET /api/v1/events.
	Feed *Feed
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Capture answers GET /api/v1/capture, nil for nobody. Its request ends
	// when the server does; its deadlines are its own.
	Capture http.Handler
	// Supervisor counts and logs the calls that panic, nil for nobody.
	Supervisor *supervise.Supervisor
	// Page answers GET / and what lies below /ui/, nil for nobody.
	Page http.Handler
}

// Server is the HTTP server. One goroutine calls Listen and then Serve;
// Shutdown may be called from any.
type Server struct {
	http        http.Server
	listener    net.Listener
	connections *Connections
}

// New makes a server that answers with the given version and rooms.
func New(version string, rooms Rooms, log *slog.Logger) *Server {
	h := newHandler(version, rooms, log)
	s := &Server{connections: h.rooms.Connections, http: http.Server{
		Handler:           h.recovered(http.MaxBytesHandler(h.mux(), maxBodyBytes)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         h.rooms.Connections.track,
		// OPTIONS * is answered like any other call that there is not.
		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
	// Answers without an end do not end by themselves.
	s.http.RegisterOnShutdown(h.close)
	return s
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
	if err := s.http.Serve(boundedListener{s.listener, s.connections}); !errors.Is(err, http.ErrServerClosed) {
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
