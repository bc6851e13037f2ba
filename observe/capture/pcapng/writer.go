// Package pcapng writes captures as pcapng files for Wireshark and other tools. A file has
// two interfaces, the callers' side of the relay and the backends'. A forwarded datagram is
// in the file twice, as received on one and as sent on the other.
//
// The package makes the IP and UDP headers that a capture on the wire would have. It must
// not know where records come from, nor who reads the file.
package pcapng

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"srtrelay/observe/capture"
)

const (
	// outBuffer is the size of one write.
	outBuffer = 64 << 10
	// blockSize is the size of a packet block without the packet: its fields, one
	// option and up to three bytes of padding.
	blockSize = 32 + 12 + 3
	// closingSize is reserved for the statistics of both interfaces.
	closingSize = 2 * (24 + 4*12 + 4)
	// maxComment bounds the comment; an option can hold 65535 bytes.
	maxComment = 4096
)

// legs are the interfaces of every file, by capture.Leg.
var legs = [...]pcapgo.NgInterface{
	capture.LegCallers:  {Name: "callers", Description: "between the callers and the relay"},
	capture.LegBackends: {Name: "backends", Description: "between the relay and the backends"},
}

// Both directions, as packet flags.
var (
	inbound  = pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}}
	outbound = pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}}
)

// writer writes one file. It belongs to one goroutine.
type writer struct {
	ng    *pcapgo.NgWriter
	out   *bufio.Writer
	sum   *countingWriter
	limit int64
	// origin is the wall-clock time at which the shards' clock was 0.
	origin  time.Time
	routes  routes
	packet  []byte // reused
	written [len(legs)]uint64
}

// newWriter begins a file of at most limit bytes, with program and comment in its header.
func newWriter(to io.Writer, origin time.Time, limit int64, program, comment string) (*writer, error) {
	sum := &countingWriter{to: to}
	w := &writer{
		out: bufio.NewWriterSize(sum, outBuffer), sum: sum, limit: limit, origin: origin,
		routes: newRoutes(), packet: make([]byte, 0, maxHeaders+capture.SnapLength),
	}
	first := legs[0]
	var err error
	// Its buffer is smaller than w.out, which bufio then uses directly.
	w.ng, err = pcapgo.NewNgWriterInterface(w.out, onWire(first), pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: program,
		Comment: strings.ToValidUTF8(comment[:min(len(comment), maxComment)], ""),
	}})
	if err != nil {
		return nil, fmt.Errorf("write pcapng header: %w", err)
	}
	for _, l := range legs[1:] {
		if _, err := w.ng.AddInterface(onWire(l)); err != nil {
			return nil, fmt.Errorf("write pcapng interface: %w", err)
		}
	}
	return w, nil
}

// onWire completes an interface, whose packets begin with the IP header.
func onWire(l pcapgo.NgInterface) pcapgo.NgInterface {
	l.LinkType = layers.LinkTypeRaw
	l.SnapLength = maxHeaders + capture.SnapLength
	l.OS = runtime.GOOS
	return l
}

// Write writes a record as one packet for each leg on which it was seen. It returns false,
// and writes nothing, if the file would become longer than its limit.
func (w *writer) Write(rec *capture.Record) (fits bool, err error) {
	most := 0
	for _, seen := range []capture.How{capture.Received, capture.Sent} {
		if rec.How&seen != 0 {
			most += blockSize + maxHeaders + len(rec.Data)
		}
	}
	if w.Size()+int64(most)+closingSize > w.limit {
		return false, nil
	}
	e := &rec.Ends
	if e.Backend.IsValid() && e.Upstream.IP == (addrIP{}) {
		e.Upstream.IP = w.routes.from(e.Backend)
	}
	near, far := [...]end{e.Front, e.Upstream}, [...]end{e.Caller, e.Backend}
	if rec.How&capture.Received != 0 {
		l := rec.How.From()
		err = w.put(rec, l, far[l], near[l], inbound)
	}
	if rec.How&capture.Sent != 0 && err == nil {
		l := rec.How.To()
		err = w.put(rec, l, near[l], far[l], outbound)
	}
	return true, err
}

func (w *writer) put(rec *capture.Record, l capture.Leg, from, to end, way pcapgo.NgPacketOptions) error {
	w.packet = appendPacket(w.packet[:0], from, to, rec.Length, rec.Data)
	headers := len(w.packet) - len(rec.Data)
	if err := w.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: w.origin.Add(rec.At), InterfaceIndex: int(l),
		CaptureLength: len(w.packet), Length: headers + rec.Length,
	}, w.packet, way); err != nil {
		return fmt.Errorf("write pcapng packet: %w", err)
	}
	w.written[l]++
	return nil
}

// Size returns the present size of the file.
func (w *writer) Size() int64 { return w.sum.n + int64(w.out.Buffered()) }

// Written returns how many packets of a leg are in the file.
func (w *writer) Written(l capture.Leg) uint64 { return w.written[l] }

// Flush writes what is buffered.
func (w *writer) Flush() error {
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

// Close ends the file with the statistics of its interfaces. left is how many packets of
// each were left out.
func (w *writer) Close(began, ended time.Time, left [len(legs)]uint64) error {
	for l := range legs {
		if err := w.ng.WriteInterfaceStats(l, pcapgo.NgInterfaceStatistics{
			LastUpdate: ended, StartTime: began, EndTime: ended,
			PacketsReceived: w.written[l] + left[l], PacketsDropped: left[l],
		}); err != nil {
			return fmt.Errorf("write pcapng statistics: %w", err)
		}
	}
	return w.Flush()
}

// countingWriter counts the bytes written.
type countingWriter struct {
	to io.Writer
	n  int64
}

// Write implements io.Writer.
func (s *countingWriter) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	s.n += int64(n)
	return n, err
}
