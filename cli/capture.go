package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/cli/client"
	"srtrelay/cli/term"
)

// progressInterval is how often a capture prints its progress.
const progressInterval = time.Second

// captureJob holds the flags of capture.
type captureJob struct {
	shell *Shell
	query client.CaptureQuery
	file  string
	bytes string
}

func (s *Shell) captureCommand() *cobra.Command {
	j := captureJob{shell: s}
	c := &cobra.Command{
		Use: "capture", Short: "write the datagrams of a stream or session to a pcapng file",
		Long: "Write the datagrams of a stream or of sessions to a pcapng file, both legs, until Ctrl-C, a\n" +
			"limit, or the end of the sessions. Without --payload only headers and control packets.",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{
			noteText: "Streams do not wait for a capture: datagrams that the relay has no time to copy are missing in\nthe file, and counted at its end.",
			exitText: "0 captured, 1 nothing to capture, or the relay cannot be reached or refuses, 2 the command line\nis wrong.",
		},
	}
	a := s.newAPICommand(c)
	c.Flags().StringArrayVar(&j.query.Streams, "stream", nil, "capture this stream, also sessions that begin meanwhile; repeatable")
	placeholder(c, "stream", "KEY")
	c.Flags().StringArrayVar(&j.query.Sessions, "session", nil, "capture this session; repeatable")
	placeholder(c, "session", "ID")
	c.Flags().BoolVar(&j.query.Payload, "payload", false, "capture media too, not only headers")
	c.Flags().DurationVar(&j.query.Duration, "time", 0, "end after this time; default 60s")
	placeholder(c, "time", "TIME")
	stringFlag(c, &j.bytes, "bytes", "SIZE", "end at this size, as 64MiB; default 64MiB")
	c.Flags().IntVar(&j.query.Rate, "rate", 0, "at most N datagrams per second; default the relay's")
	placeholder(c, "rate", "N")
	c.Flags().StringVarP(&j.file, "output", "o", "", "file to write; - for standard output")
	placeholder(c, "output", "FILE")
	c.Flags().BoolVar(&j.query.Wait, "wait", false, "wait for streams that are not there yet")
	completeFlag(c, "stream", a.complete(-1, streamKeys))
	completeFlag(c, "session", a.complete(-1, sessionIDs))
	c.RunE = a.run(func(ctx context.Context, cl *client.Client, _ []string) error {
		if err := j.check(); err != nil {
			return err
		}
		return j.run(ctx, cl)
	})
	return c
}

func (j *captureJob) check() (err error) {
	switch q := &j.query; {
	case len(q.Streams)+len(q.Sessions) == 0:
		return usageErrorf("--stream: missing; name a stream or, with --session, a session")
	case q.Duration != 0 && q.Duration < time.Second:
		return usageErrorf("--time: %v: shorter than 1s", q.Duration)
	case q.Rate < 0:
		return usageErrorf("--rate: %d: below 1", q.Rate)
	case j.file == "":
		return usageErrorf("--output: missing; name a file, or - for standard output")
	case j.file == "-" && term.IsTerminal(j.shell.Stdout):
		return usageErrorf("--output: standard output is a terminal; name a file, or send it into a pipe")
	}
	if j.bytes != "" {
		if j.query.Bytes, err = parseSize(j.bytes); err != nil {
			return usageErrorf("--bytes: %q: %w", j.bytes, err)
		}
	}
	return nil
}

// parseSize reads a number of bytes, with KiB, MiB or GiB or without a unit.
func parseSize(text string) (int64, error) {
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if bare, found := strings.CutSuffix(text, unit); found {
			text, shift = bare, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(text, 10, 33)
	if err != nil || n < 1 || n > 1<<40>>shift {
		return 0, errors.New("not a size such as 500000, 64MiB or 1GiB")
	}
	return n << shift, nil
}

// run captures. It creates the file after the relay has accepted the capture, so that a
// refused one does not overwrite an older file.
func (j *captureJob) run(ctx context.Context, c *client.Client) error {
	body, err := c.Capture(ctx, j.query)
	if err != nil {
		return err
	}
	defer body.Close()
	to := j.shell.Stdout
	if j.file != "-" {
		file, err := os.Create(j.file)
		if err != nil {
			return fmt.Errorf("make the file: %w", err)
		}
		defer file.Close() // for errors; below it is closed and checked
		to = file
	}
	// A pipe is flushed after each block: its reader wants to see packets at once.
	out := bufio.NewWriter(to)
	progress := captureProgress{job: j, next: time.Now()}
	err = client.CopyBlocks(flushed{out, j.file == "-"}, body, progress.update)
	if ctx.Err() != nil {
		err = nil // Ctrl-C is how most captures end
	}
	if flushErr := out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write the capture: %w", flushErr)
	}
	if file, ok := to.(*os.File); ok && j.file != "-" {
		if closeErr := file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("write the capture: %w", closeErr)
		}
	}
	progress.end(body.End())
	if err == nil && progress.packets == 0 {
		err = errors.New("no datagram came: the file is empty")
	}
	return err
}

// flushed flushes after each write if atOnce is true.
type flushed struct {
	*bufio.Writer
	atOnce bool
}

// Write implements io.Writer.
func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil && f.atOnce {
		err = f.Flush()
	}
	return n, err
}

// captureProgress prints the progress of a capture to standard error: on a terminal once per
// progressInterval, and at the end.
type captureProgress struct {
	job            *captureJob
	next           time.Time
	bytes, packets int64
	printed        bool
}

func (p *captureProgress) update(bytes, packets int64) {
	p.bytes, p.packets = bytes, packets
	now := time.Now()
	if now.Before(p.next) || !term.IsTerminal(p.job.shell.Stderr) {
		return
	}
	p.next, p.printed = now.Add(progressInterval), true
	fmt.Fprintf(p.job.shell.Stderr, "\r%s\x1b[K", p)
}

func (p *captureProgress) String() string {
	return fmt.Sprintf("%d packets, %d bytes", p.packets, p.bytes)
}

func (p *captureProgress) end(reason string, dropped uint64) {
	line := p.String() + " written to " + p.job.file
	if p.job.file == "-" {
		line = p.String() + " written"
	}
	if reason != "" {
		line += fmt.Sprintf("; %s, %d datagrams left out", reason, dropped)
	}
	if p.printed {
		line = "\r\x1b[K" + line
	}
	fmt.Fprintln(p.job.shell.Stderr, line)
}
