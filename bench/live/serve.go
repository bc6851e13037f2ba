//go:build linux

package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// ServerConfig is a server's settings.
type ServerConfig struct {
	Listen string
	Number int           // that its data bears, and tells it from others
	Idle   time.Duration // after which a silent session is forgotten
	Buffer int           // wanted socket buffers, in bytes
}

const help = `Usage: bench server [flags]

Plays one SRT server (a backend) for "bench hostile" and "bench soak": accepts
every caller, sends it as much data as its stream ID asks for (pps=10,count=20)
and counts what comes, session by session.

It is driven by lines on its input, each answered by one line of JSON: look
(what was counted, and the sessions that ended since the last answer), all (the
open sessions as well), silence (no data is sent), speak, slow (it looks at each
handshake 0.7 s late), quick, quit. The end of the input ends it.

Flags:
`

// Flags declares the server's flags.
func Flags(fs *flag.FlagSet) *ServerConfig {
	c := &ServerConfig{}
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:10001", "`address`")
	fs.IntVar(&c.Number, "number", 0, "`number` that its data bears")
	fs.DurationVar(&c.Idle, "idle-timeout", 12*time.Second, "`time` after which a silent session is forgotten")
	fs.IntVar(&c.Buffer, "buffer", socketBuffer, "socket buffers in `bytes`; without root the kernel's limit holds")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help)
		fs.PrintDefaults()
	}
	return c
}

// Serve runs a server until ctx ends, the input ends, or the command is quit.
func Serve(ctx context.Context, c ServerConfig, in io.Reader, out io.Writer) (err error) {
	s, err := newServer(c)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commands := make(chan string)
	go readCommands(ctx, in, commands)
	return s.serve(ctx, commands, json.NewEncoder(out))
}

// readCommands passes lines on until the input ends, which means quit.
func readCommands(ctx context.Context, in io.Reader, to chan<- string) {
	defer close(to)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		select {
		case to <- strings.TrimSpace(lines.Text()):
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) serve(ctx context.Context, commands <-chan string, out *json.Encoder) error {
	if err := out.Encode(s.report); err != nil {
		return fmt.Errorf("server: answer: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case command, more := <-commands:
			if !more {
				return nil
			}
			r, done := s.execute(command)
			if err := out.Encode(r); err != nil {
				return fmt.Errorf("server: answer: %w", err)
			}
			if done {
				return nil
			}
		default:
		}
		s.turn()
	}
}
