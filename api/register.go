package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"srtrelay/backend"
)

// heartbeat is the part that the relay reads of what SRS posts
// (SrsHttpHeartbeat::do_heartbeat).
type heartbeat struct {
	DeviceID string   `json:"device_id"`
	IP       string   `json:"ip"`
	Server   string   `json:"server"`
	Service  string   `json:"service"`
	PID      string   `json:"pid"`
	RTMP     []string `json:"rtmp"`
	HTTP     []string `json:"http"`
	API      []string `json:"api"`
	SRT      []string `json:"srt"`
	RTC      []string `json:"rtc"`
}

// register handles a heartbeat.
func (h *handler) register(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		status := http.StatusBadRequest
		if _, long := errors.AsType[*http.MaxBytesError](err); long {
			status = http.StatusRequestEntityTooLarge
		}
		h.refuse(w, r, status, err.Error())
		return
	}
	reg, at, err := parseHeartbeat(body, peerOf(r))
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	a, err := h.deps.Registry.Register(reg, at, time.Now(), h.settings.Load().TTL)
	if err != nil {
		status, why := registerError(err, at)
		h.refuse(w, r, status, why)
		return
	}
	if a.New {
		h.log.Info("backend registered", "backend", string(a.Backend.ID), "address", at, "server", reg.Server,
			"device", reg.Device, "from", r.RemoteAddr, "replaces", a.Replaced)
	}
	writeReply(w, http.StatusOK, reply{PID: h.pid})
}

// readBody reads a body of at most maxBodyBytes. If Content-Length says more, it reads
// nothing.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodyBytes {
		w.Header().Set("Connection", "close") // so that net/http does not read it either
		return nil, fmt.Errorf("body: %w", &http.MaxBytesError{Limit: maxBodyBytes})
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return body, nil
}

// peerOf returns the address of the client, invalid if it is unknown.
func peerOf(r *http.Request) netip.AddrPort {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
}

// parseHeartbeat returns the registration and the SRT address of its sender. It ignores
// unknown fields. An error begins with the name of the field.
func parseHeartbeat(body []byte, peer netip.AddrPort) (backend.Registration, netip.AddrPort, error) {
	var b heartbeat
	if err := json.Unmarshal(body, &b); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return backend.Registration{}, netip.AddrPort{}, fmt.Errorf("%s: is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return backend.Registration{}, netip.AddrPort{}, fmt.Errorf("body: not a heartbeat in JSON: %w", err)
	}
	reg := backend.Registration{
		IP: b.IP, Device: b.DeviceID, Server: b.Server, Service: b.Service, PID: b.PID,
		RTMP: b.RTMP, HTTP: b.HTTP, API: b.API, SRT: b.SRT, RTC: b.RTC,
	}
	if err := reg.Check(); err != nil {
		return reg, netip.AddrPort{}, err
	}
	if len(reg.SRT) == 0 {
		return reg, netip.AddrPort{}, errors.New("srt: missing; SRS sends it with srt_server on and heartbeat.ports on")
	}
	var first error
	for _, entry := range reg.SRT {
		at, err := backend.ParseListen(entry, reg.IP, peer.Addr())
		if err == nil {
			return reg, at, nil
		}
		if first == nil {
			first = err
		}
	}
	return reg, netip.AddrPort{}, fmt.Errorf("srt: %w", first)
}

// registerError returns the answer to what the registry refuses; it begins with the
// name of the field.
func registerError(err error, at netip.AddrPort) (status int, why string) {
	switch {
	case errors.Is(err, backend.ErrSelf), errors.Is(err, backend.ErrAddress):
		return http.StatusBadRequest, fmt.Sprintf("srt: %s %v", at, err)
	case errors.Is(err, backend.ErrReplaced):
		return http.StatusConflict, "service: " + err.Error()
	case errors.Is(err, backend.ErrTaken):
		return http.StatusConflict, "server: " + err.Error()
	case errors.Is(err, backend.ErrFull):
		return http.StatusServiceUnavailable, "server: " + err.Error()
	}
	return http.StatusBadRequest, err.Error()
}
