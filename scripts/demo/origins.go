//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// originCount leaves an idle origin beside the two that get a stream.
const originCount = 3

// beatEvery is SRS's shortest interval.
const beatEvery = time.Second

func (d *demo) startOrigins() error {
	for n := range originCount {
		name := fmt.Sprintf("origin %d", n+1)
		dir := filepath.Join(d.dir, strings.ReplaceAll(name, " ", ""))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		o, err := d.start(name, filepath.Join(d.dir, "origin"), "-p", passphrase, "-k", keyLength, "-l", latency,
			"-o", dir, "127.0.0.1", "0")
		if err != nil {
			return err
		}
		line, err := o.await(d.ctx, "listening address=")
		if err != nil {
			return err
		}
		o.at, o.dir = strings.TrimPrefix(line, "listening address="), dir
		d.origins = append(d.origins, o)
		d.say("%s listens on %s", name, o.at)
	}
	return nil
}

// heartbeat is what SRS posts with `ports on` and `srt_server` enabled, in its
// order (SrsHttpHeartbeat::do_heartbeat).
type heartbeat struct {
	DeviceID string   `json:"device_id"`
	IP       string   `json:"ip"`
	Server   string   `json:"server"`
	Service  string   `json:"service"`
	PID      string   `json:"pid"`
	RTMP     []string `json:"rtmp"`
	SRT      []string `json:"srt"`
}

// register lets every origin announce itself, and waits until the relay has
// found all of them alive.
func (d *demo) register() error {
	var ctx context.Context
	ctx, d.beating = context.WithCancel(d.ctx)
	for i, o := range d.origins {
		_, port, err := net.SplitHostPort(o.at)
		if err != nil {
			return fmt.Errorf("address of %s: %w", o.name, err)
		}
		h := heartbeat{
			DeviceID: fmt.Sprintf("origin%d", i+1), IP: "127.0.0.1",
			Server: fmt.Sprintf("vid-origin%d", i+1), Service: fmt.Sprintf("k3j9x2a%d", i+1), PID: strconv.Itoa(o.cmd.Process.Pid),
			RTMP: []string{"1935"}, SRT: []string{"udp://0.0.0.0:" + port},
		}
		body, err := json.Marshal(h)
		if err != nil {
			return fmt.Errorf("write a heartbeat: %w", err)
		}
		o.id = h.Server + "-" + h.Service + "-" + h.PID
		if i == 0 {
			d.say("heartbeats, one per origin and second: POST /api/v1/srs/register %s", body)
		}
		go d.beat(ctx, o, body)
	}
	for _, o := range d.origins {
		if _, err := d.relay.awaitEvent(d.ctx, "backend alive", "backend", o.id); err != nil {
			return err
		}
		d.say("%s is registered as %s and alive", o.name, o.id)
	}
	return nil
}

// beat sends an origin's heartbeats for as long as the origin lives.
func (d *demo) beat(ctx context.Context, o *program, body []byte) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if err := d.beatOnce(ctx, body); err != nil && ctx.Err() == nil {
			d.tell(fmt.Errorf("heartbeat of %s: %w", o.name, err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-o.done:
			return
		case <-tick.C:
		}
	}
}

func (d *demo) beatOnce(ctx context.Context, body []byte) error {
	url := d.api + "/api/v1/srs/register?token=" + d.token
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true // as SRS does
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the relay: %w", err)
	}
	defer reply.Body.Close()
	var answer struct {
		Code  int
		Error string
	}
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	if reply.StatusCode != http.StatusOK || answer.Code != 0 {
		return fmt.Errorf("refused: %s %s", reply.Status, answer.Error)
	}
	return nil
}

// origin is the one that has registered under a name, nil for none.
func (d *demo) origin(id string) *program {
	for _, o := range d.origins {
		if o.id == id {
			return o
		}
	}
	return nil
}

// fileAt is where an origin keeps what a stream's publisher sends.
func (d *demo) fileAt(o *program, s *stream) string { return filepath.Join(o.dir, s.fileName()) }
