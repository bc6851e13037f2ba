package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// CaptureQuery says what to capture. For bounds that are 0 the relay's defaults hold.
type CaptureQuery struct {
	Streams  []string // affinity keys, "" being the default route's
	Sessions []string
	Wait     bool // for streams that are not there yet
	Payload  bool
	Duration time.Duration // whole seconds
	Bytes    int64
	Rate     int // datagrams per second
}

// Capture starts a capture and returns the growing pcapng file, which the caller must close.
// The capture ends with ctx.
func (c *Client) Capture(ctx context.Context, q CaptureQuery) (*Recording, error) {
	ask := query{}.number("seconds", int(q.Duration/time.Second)).number("rate", q.Rate).values()
	if len(q.Streams) > 0 {
		ask["stream"] = q.Streams
	}
	if len(q.Sessions) > 0 {
		ask["session"] = q.Sessions
	}
	if q.Wait {
		ask.Set("wait", "true")
	}
	if q.Payload {
		ask.Set("payload", "true")
	}
	if q.Bytes > 0 {
		ask.Set("bytes", strconv.FormatInt(q.Bytes, 10))
	}
	response, err := c.openStream(ctx, "/api/v1/capture", ask, http.Header{},
		"application/x-pcapng", "application/vnd.tcpdump.pcap", "application/octet-stream")
	if err != nil {
		return nil, err
	}
	return &Recording{response, c.api}, nil
}

// Recording is a running capture. One goroutine reads and closes it.
type Recording struct {
	response *http.Response
	api      string
}

// Read implements io.Reader.
func (r *Recording) Read(p []byte) (int, error) {
	n, err := r.response.Body.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the capture of %s: %w", r.api, err)
	}
	return n, err
}

// Close ends the capture.
func (r *Recording) Close() error { return r.response.Body.Close() }

// End returns why the capture ended and how many datagrams the relay left out. Before the end
// of the file, and after an error, reason is "".
func (r *Recording) End() (reason string, dropped uint64) {
	dropped, err := strconv.ParseUint(r.response.Trailer.Get("Capture-Dropped"), 10, 64)
	if err != nil {
		return "", 0
	}
	return r.response.Trailer.Get("Capture-Ended"), dropped
}

const (
	// headerBlock is the type of the first block of a pcapng file, which defines its
	// byte order.
	headerBlock = 0x0A0D0D0A
	byteOrder   = 0x1A2B3C4D
	// maxBlock is far more than a datagram of 64 KiB with its headers.
	maxBlock = 1 << 20
)

// CopyBlocks copies a pcapng file block by block, so that the output is a valid file however
// the input ends. After each block it calls wrote with the bytes and packets so far. An end
// between two blocks is not an error.
func CopyBlocks(to io.Writer, from io.Reader, wrote func(bytes, packets int64)) error {
	var order binary.ByteOrder = binary.LittleEndian
	block := make([]byte, 12, 4096)
	var bytes, packets int64
	for {
		// Type, length and what follows: every block has at least 12 bytes.
		if _, err := io.ReadFull(from, block[:12]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		kind := order.Uint32(block)
		if kind == headerBlock {
			order = binary.LittleEndian
			if order.Uint32(block[8:]) != byteOrder {
				order = binary.BigEndian
			}
		} else if bytes == 0 {
			return errors.New("not a pcapng file")
		}
		length := int(order.Uint32(block[4:]))
		if length < 12 || length%4 != 0 || length > maxBlock {
			return fmt.Errorf("not a pcapng file: block of %d bytes", length)
		}
		if length > cap(block) {
			block = append(make([]byte, 0, length), block[:12]...)
		}
		block = block[:length]
		if _, err := io.ReadFull(from, block[12:]); err != nil {
			return err
		}
		if _, err := to.Write(block); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
		bytes += int64(length)
		if kind == 3 || kind == 6 { // simple and enhanced packets
			packets++
		}
		wrote(bytes, packets)
	}
}
