//go:build linux

package load

import (
	"errors"

	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
)

// openPath has data sent as frames, while the ports' sockets go on receiving. It comes
// after the handshakes, because they make the next hop's hardware address known.
func (l *Load) openPath() (err error) {
	if !l.config.Frames {
		return nil
	}
	for _, p := range l.ports {
		if p.peer.Addr() != l.ports[0].peer.Addr() {
			return errors.New("all targets must be on one host")
		}
	}
	path, err := socket.OpenPath(l.ports[0].peer.Addr())
	if err != nil {
		return err
	}
	for i := range l.ports {
		p := &l.ports[i]
		local, err := socket.Local(p.fd)
		if err != nil {
			_ = path.Close()
			return err
		}
		p.head = path.Head(local, p.peer)
	}
	l.frames = path.Outbox(l.clock, srt.SentOffset)
	l.frames.Fill(l.payload)
	l.frames.OnLag(l.book.Lag)
	l.frames.AtMost(l.config.Batch)
	l.path = path
	return nil
}

// flush sends the frames that are queued.
func (l *Load) flush() {
	if l.path == nil {
		return
	}
	l.frames.Flush()
	l.book.Unsent += l.frames.TakeUnsent()
}
