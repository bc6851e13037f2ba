package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// The names of the keys; see the package's comment.
const (
	serverPrefix = "srs-proxy-server:"
	urlPrefix    = "srs-proxy-url:"
	groupPrefix  = "srtrelay-group:"
	arrayKey     = "srs-proxy-all-servers"
	setKey       = "srtrelay-servers"
	tryKey       = "srtrelay-try"
)

// staticPrefix begins the name of a static backend; its host follows, so that
// relays with the same --backend mean the same entry.
const (
	staticServer = "srtrelay"
	staticPrefix = staticServer + "-static-"
)

func serverKey(id backend.ID) string { return serverPrefix + string(id) }

// homeKey is where a home's binding is.
func homeKey(h balancer.Home) string {
	if h.Group != 0 {
		return groupPrefix + strconv.FormatUint(uint64(h.Group), 10)
	}
	return urlPrefix + h.Key
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

// recordOf returns what is written of a backend. SRS's proxy joins the ip
// with the port of an endpoint, and reads a bare port of all of them best.
func recordOf(b backend.Backend, now time.Time) record {
	g := b.Registration
	if g == nil {
		return record{
			IP: b.Addr.Addr().String(), Server: staticServer, Service: "static", PID: b.Host,
			SRT: []string{strconv.Itoa(int(b.Addr.Port()))}, UpdateAt: now,
		}
	}
	r := record{
		IP: g.IP, Device: g.Device, Server: g.Server, Service: g.Service, PID: g.PID,
		RTMP: g.RTMP, HTTP: g.HTTP, API: g.API, SRT: g.SRT, RTC: g.RTC, UpdateAt: now,
	}
	// Who reads the entry does not see the heartbeat's sender.
	if ip, err := netip.ParseAddr(r.IP); err != nil || ip.IsUnspecified() {
		r.IP = b.Addr.Addr().String()
	}
	// Nor does the reader know what the sender's address stood in for. The
	// first entry is one that nobody could use, or means the same.
	if read, err := r.backend(now, false); err != nil || read.Addr != b.Addr {
		r.IP = b.Addr.Addr().String()
		r.SRT = append([]string{strconv.Itoa(int(b.Addr.Port()))}, g.SRT[min(1, len(g.SRT)):]...)
	}
	return r
}

// errNoSRT says that a server takes no SRT.
var errNoSRT = errors.New("has no srt endpoint")

// backend returns the server as a backend: down, until it has answered. As of
// a heartbeat the first srt entry that can be used counts.
//
// elsewhere says that Redis is on another host, and its writers may be: a
// loopback address would mean another process to each of them.
func (r record) backend(now time.Time, elsewhere bool) (backend.Backend, error) {
	var writer netip.Addr
	if elsewhere {
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
