package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// byteOrders is what both byte orders can.
type byteOrders interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// block is one pcapng block with so much in it.
func block(order byteOrders, kind uint32, body []byte) []byte {
	n := uint32(12 + len(body))
	b := order.AppendUint32(order.AppendUint32(nil, kind), n)
	return order.AppendUint32(append(b, body...), n)
}

func file(order byteOrders) []byte {
	header := order.AppendUint32(nil, byteOrder)
	all := block(order, headerBlock, append(header, make([]byte, 12)...))
	all = append(all, block(order, 1, make([]byte, 8))...)
	all = append(all, block(order, 6, make([]byte, 9000))...)
	return append(all, block(order, 3, make([]byte, 4))...)
}

func TestCopyBlocks(t *testing.T) {
	for _, order := range []byteOrders{binary.LittleEndian, binary.BigEndian} {
		whole := file(order)
		var out bytes.Buffer
		var size, packets int64
		took := func(b, p int64) { size, packets = b, p }
		if err := CopyBlocks(&out, iotest.OneByteReader(bytes.NewReader(whole)), took); err != nil || !bytes.Equal(out.Bytes(), whole) {
			t.Errorf("%v: %d of %d bytes, %v", order, out.Len(), len(whole), err)
		}
		if size != int64(len(whole)) || packets != 2 {
			t.Errorf("told of %d bytes, %d packets", size, packets)
		}
		// Wherever it is cut, what was written ends with a block.
		ends := map[int]bool{0: true, 28: true, 48: true, 48 + 9012: true, len(whole): true}
		for cut := 0; cut < len(whole); cut += 7 {
			out.Reset()
			err := CopyBlocks(&out, bytes.NewReader(whole[:cut]), took)
			if !ends[out.Len()] || (err == nil) != ends[cut] {
				t.Errorf("cut at %d: %d bytes written, %v", cut, out.Len(), err)
			}
		}
	}
}

func TestCopyBlocksRefuses(t *testing.T) {
	begin := file(binary.LittleEndian)[:28]
	broken := errors.New("connection lost")
	for name, c := range map[string]struct {
		from io.Reader
		want string
	}{
		"html":        {strings.NewReader("<html><body>"), "not a pcapng file"},
		"short block": {bytes.NewReader(append(begin[:28:28], block(binary.LittleEndian, 6, nil)[:4]...)), "unexpected EOF"},
		"length":      {bytes.NewReader(append(begin[:28:28], 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0)), "block of 8 bytes"},
		"huge":        {bytes.NewReader(append(begin[:28:28], 6, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0)), "not a pcapng file"},
		"lost":        {io.MultiReader(bytes.NewReader(begin), iotest.ErrReader(broken)), "connection lost"},
	} {
		if err := CopyBlocks(io.Discard, c.from, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func FuzzCopyBlocks(f *testing.F) {
	f.Add(file(binary.LittleEndian))
	f.Add(file(binary.BigEndian)[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		_ = CopyBlocks(&out, bytes.NewReader(data), func(int64, int64) {})
		if !bytes.HasPrefix(data, out.Bytes()) {
			t.Error("wrote what was not read")
		}
	})
}

func TestCapture(t *testing.T) {
	whole := file(binary.LittleEndian)
	var asked string
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		if r.URL.Query().Get("session") == "bad" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":404,"error":"session: not there"}`)
			return
		}
		w.Header().Set("Content-Type", "application/x-pcapng")
		w.Header().Set("Trailer", "Capture-Ended, Capture-Packets, Capture-Dropped")
		_, _ = w.Write(whole)
		w.Header().Set("Capture-Ended", "time is over")
		w.Header().Set("Capture-Dropped", "12")
	})
	recording, err := c.Capture(t.Context(), CaptureQuery{
		Streams: []string{"", "v/live/x"}, Sessions: []string{"0-1-2"}, Payload: true, Duration: 90 * time.Second, Bytes: 1 << 20, Rate: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer recording.Close()
	if reason, _ := recording.End(); reason != "" {
		t.Errorf("over before the end: %s", reason)
	}
	got, err := io.ReadAll(recording)
	if err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if reason, dropped := recording.End(); reason != "time is over" || dropped != 12 {
		t.Errorf("ended: %q, %d", reason, dropped)
	}
	if want := "bytes=1048576&payload=true&rate=7&seconds=90&session=0-1-2&stream=&stream=v%2Flive%2Fx"; asked != want {
		t.Errorf("asked %s", asked)
	}
	if _, err := c.Capture(t.Context(), CaptureQuery{Sessions: []string{"bad"}}); !IsNotFound(err) {
		t.Errorf("%v", err)
	}
}
