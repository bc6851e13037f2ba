package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// The names of the keys; see the package's doc comment.
const (
	serverPrefix = "srs-proxy-server:"
	urlPrefix    = "srs-proxy-url:"
	groupPrefix  = "srtrelay-group:"
	arrayKey     = "srs-proxy-all-servers"
	setKey       = "srtrelay-servers"
	probeKey     = "srtrelay-try"
)

// The name of a static backend is staticPrefix and its ID, which is its address, so that
// relays with the same --backend share one entry.
const (
	staticServer = "srtrelay"
	staticPrefix = staticServer + "-static-"
)

func serverKey(id backend.ID) string { return serverPrefix + string(id) }

// bindingKey is the Redis key of a binding.
func bindingKey(key balancer.AffinityKey) string {
	if key.Group != 0 {
		return groupPrefix + strconv.FormatUint(uint64(key.Group), 10)
	}
	return urlPrefix + key.Stream
}

// record is a server as SRS's proxy writes it (proxy/internal/lb, SRSServer).
type record struct {
	IP       string    `json:"ip,omitempty"`
	Device   string    `json:"device_id,omitempty"`
	Server   string    `json:"server_id,omitempty"`
	Service  string    `json:"service_id,omitempty"`
	PID      string    `json:"pid,omitempty"`
	RTMP     []string  `json:"rtmp,omitempty"`
	HTTP     []string  `json:"http,omitempty"`
	API      []string  `json:"api,omitempty"`
	SRT      []string  `json:"srt,omitempty"`
	RTC      []string  `json:"rtc,omitempty"`
	UpdateAt time.Time `json:"update_at"`
}

// recordOf returns the record of a backend. SRS's proxy joins ip and the port of an
// endpoint, so an endpoint is best a port alone.
func recordOf(b backend.Backend, now time.Time) record {
	g := b.Registration
	if g == nil {
		return record{
			IP: b.Addr.Addr().String(), Server: staticServer, Service: "static", PID: string(b.ID),
			SRT: []string{strconv.Itoa(int(b.Addr.Port()))}, UpdateAt: now,
		}
	}
	r := record{
		IP: g.IP, Device: g.Device, Server: g.Server, Service: g.Service, PID: g.PID,
		RTMP: g.RTMP, HTTP: g.HTTP, API: g.API, SRT: g.SRT, RTC: g.RTC, UpdateAt: now,
	}
	// A reader does not know the sender of the heartbeat.
	if ip, err := netip.ParseAddr(r.IP); err != nil || ip.IsUnspecified() {
		r.IP = b.Addr.Addr().String()
	}
	// Nor does it know an address that was taken from the sender in place of the first
	// SRT endpoint. That one cannot be used, or means the same.
	if read, err := r.backend(now, false); err != nil || read.Addr != b.Addr {
		r.IP = b.Addr.Addr().String()
		r.SRT = append([]string{strconv.Itoa(int(b.Addr.Port()))}, g.SRT[min(1, len(g.SRT)):]...)
	}
	return r
}

// errNoSRT means that a server has no SRT endpoint.
var errNoSRT = errors.New("has no srt endpoint")

// backend returns the server as a backend that is down until it has answered a probe. As
// in a heartbeat, the first usable SRT endpoint counts.
//
// remote means that Redis is on another host. Then its writers may be too, and a loopback
// address is not usable.
func (r record) backend(now time.Time, remote bool) (backend.Backend, error) {
	var writer netip.Addr
	if remote {
		writer = netip.IPv4Unspecified()
	}
	g := &backend.Registration{
		IP: r.IP, Device: r.Device, Server: r.Server, Service: r.Service, PID: r.PID,
		RTMP: r.RTMP, HTTP: r.HTTP, API: r.API, SRT: r.SRT, RTC: r.RTC,
	}
	if err := g.Check(); err != nil {
		return backend.Backend{}, err
	}
	if len(r.SRT) == 0 {
		return backend.Backend{}, errNoSRT
	}
	var first error
	for _, entry := range r.SRT {
		addr, err := backend.ParseListen(entry, r.IP, writer)
		if err == nil {
			return backend.Backend{
				ID: g.ID(), Source: backend.SourceShared, Host: addr.String(), Addr: addr,
				Down: true, Weight: 1, Registration: g, Added: now,
			}, nil
		}
		if first == nil {
			first = err
		}
	}
	return backend.Backend{}, fmt.Errorf("srt: %w", first)
}

func parseRecord(text string) (r record, err error) {
	if err = json.Unmarshal([]byte(text), &r); err != nil {
		return record{}, fmt.Errorf("read a server's entry: %w", err)
	}
	return r, nil
}

// names translates between backends and the keys of their entries.
type names struct {
	mu sync.Mutex
	// aliases are keys of servers at the address of a backend that the relay knows by
	// another name: a static one, or the same server after a restart.
	aliases map[string]backend.ID
	// written is the alias to write for a static backend, because SRS's proxy finds
	// the server's other protocols under it.
	written map[backend.ID]string
	snap    *backend.Snapshot
	byKey   map[string]backend.ID
}

// setAliases replaces the aliases.
func (n *names) setAliases(all map[string]backend.ID, written map[backend.ID]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.aliases, n.written, n.snap = all, written, nil
}

// keyOf returns the key to write for a backend.
func (n *names) keyOf(b backend.Backend) string {
	if b.Registration != nil {
		return serverKey(b.Registration.ID())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if key, ok := n.written[b.ID]; ok {
		return key
	}
	return ownKey(b)
}

// ownKey is the key of a backend by its own name.
func ownKey(b backend.Backend) string {
	switch {
	case b.Registration != nil:
		return serverKey(b.Registration.ID())
	case b.Source == backend.SourceStatic:
		return serverKey(staticPrefix + b.ID)
	}
	return serverKey(b.ID)
}

// find returns the backend of a server's key.
func (n *names) find(snap *backend.Snapshot, key string) (backend.Backend, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.snap != snap {
		n.snap = snap
		n.byKey = maps.Clone(n.aliases)
		if n.byKey == nil {
			n.byKey = make(map[string]backend.ID, len(snap.Backends))
		}
		for _, b := range snap.Backends {
			n.byKey[ownKey(b)] = b.ID
			if b.Source == backend.SourceStatic { // also by the name that it had before it registered
				b.Registration = nil
				n.byKey[ownKey(b)] = b.ID
			}
		}
	}
	id, ok := n.byKey[key]
	if !ok {
		return backend.Backend{}, false
	}
	return snap.Find(id)
}
