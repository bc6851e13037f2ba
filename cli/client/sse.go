package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
)

// maxFrame bounds one event. A stream ID may have 512 bytes; the rest of the JSON is short.
const maxFrame = 64 << 10

// sseFrame is one server-sent event, without its name, which is in the JSON too.
type sseFrame struct {
	id   string
	data []byte
}

// readFrames reads server-sent events until the reader ends or take returns an error. It calls
// received for each line, also for comments.
func readFrames(from io.Reader, received func(), take func(sseFrame) error) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxFrame)
	lines.Split(splitLines)
	var frame sseFrame
	var any bool
	for lines.Scan() {
		received()
		line := lines.Bytes()
		if len(line) == 0 {
			if any {
				frame.data = bytes.TrimSuffix(frame.data, []byte("\n"))
				if err := take(frame); err != nil {
					return err
				}
			}
			frame, any = sseFrame{}, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			frame.id, any = string(value), true
		case "data":
			if len(frame.data)+len(value) > maxFrame {
				return fmt.Errorf("event longer than %d bytes", maxFrame)
			}
			frame.data, any = append(append(frame.data, value...), '\n'), true
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	return nil
}

// splitLines is a bufio.SplitFunc for the three line ends of server-sent events. It drops an
// incomplete last line.
func splitLines(text []byte, end bool) (advance int, line []byte, err error) {
	i := bytes.IndexAny(text, "\r\n")
	switch {
	case i < 0:
		if end {
			return len(text), nil, nil
		}
		return 0, nil, nil
	case text[i] == '\n':
		return i + 1, text[:i:i], nil
	case i+1 < len(text):
		if text[i+1] == '\n' {
			return i + 2, text[:i:i], nil
		}
		return i + 1, text[:i:i], nil
	case end:
		return i + 1, text[:i:i], nil
	}
	return 0, nil, nil // a \n may follow
}

// hasMediaType reports whether a response has one of the media types.
func hasMediaType(response *http.Response, kinds []string) bool {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && slices.Contains(kinds, kind)
}
