package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"srtrelay/api"
	"srtrelay/internal/supervise"
)

// apiServer is the API's server. A take-over stops it, and if the take-over fails another
// one goes on at the same port.
type apiServer struct {
	tasks *supervise.Tasks
	log   *slog.Logger

	mu      sync.Mutex
	current *api.Server
	// port is a duplicate of the port's socket, while stopped.
	port *os.File
}

// open gives the server the socket of another process's port if that has one for the address,
// or opens the port.
func (a *apiServer) open(server *api.Server, at netip.AddrPort, port *os.File) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.openLocked(server, at, port)
}

// openLocked is open with mu held.
func (a *apiServer) openLocked(server *api.Server, at netip.AddrPort, port *os.File) error {
	a.current = server
	if port == nil {
		return server.Listen(at)
	}
	return server.Adopt(port)
}

// serve begins to answer requests.
func (a *apiServer) serve() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serveLocked()
}

// serveLocked is serve with mu held.
func (a *apiServer) serveLocked() {
	server := a.current
	a.tasks.Go("api", func() {
		if err := server.Serve(); err != nil {
			a.log.Error("the API has failed, streams go on", "error", err)
		}
	})
}

// stop begins to stop the server for a take-over, and returns at once. Connections to the
// port wait for who accepts them next.
func (a *apiServer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	if a.port, err = a.current.File(); err != nil {
		a.log.Warn("the API cannot go on if the take-over fails", "error", err)
	}
	server := a.current
	a.tasks.Go("api stop", func() {
		limited, cancel := context.WithTimeout(context.Background(), apiShutdownTimeout)
		defer cancel()
		_ = server.Shutdown(limited) // closes connections that are still in use
	})
}

// resume has another server go on after stop. It makes that one between two calls of set.
func (a *apiServer) resume(newServer func() *api.Server, at netip.AddrPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	port := a.port
	a.port = nil
	if port != nil {
		defer port.Close()
	}
	if err := a.openLocked(newServer(), at, port); err != nil {
		return err
	}
	a.serveLocked()
	return nil
}

// set puts other settings in force.
func (a *apiServer) set(settings api.Settings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current.Set(settings)
}

// addr returns the address that the server listens at.
func (a *apiServer) addr() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.Addr()
}

// file returns a duplicate of the port's socket.
func (a *apiServer) file() (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.File()
}

// shutdown ends the server, and closes the connections that are still in use when ctx ends.
func (a *apiServer) shutdown(ctx context.Context) {
	a.mu.Lock()
	server, port := a.current, a.port
	a.port = nil
	a.mu.Unlock()
	_ = server.Shutdown(ctx)
	if port != nil {
		_ = port.Close()
	}
}
