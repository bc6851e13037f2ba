//go:build linux

package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/tally"
)

// Worker is a load generator or a sink. A command is a line, which it answers by one line of
// JSON. It belongs to one run.
type Worker struct {
	proc    *lab.Process
	answers chan []byte // closed at the end of the output
}

// start starts a worker. It does not wait for the first line, which says that the worker is
// ready.
func start(n *lab.Namespace, p lab.Program) (*Worker, error) {
	p.Stdin = true
	proc, err := n.Start(p)
	if err != nil {
		return nil, err
	}
	w := &Worker{proc: proc, answers: make(chan []byte, answersKept)}
	go w.read()
	return w, nil
}

// answersKept is more answers than a worker sends unasked. Further ones are lost, so that
// reading never blocks.
const answersKept = 64

func (w *Worker) read() {
	defer close(w.answers)
	in := bufio.NewReaderSize(w.proc.Stdout, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		select {
		case w.answers <- line:
		default:
		}
	}
}

// await reads the next answer.
func (w *Worker) await(ctx context.Context, patience time.Duration) (tally.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var r tally.Report
	select {
	case line, open := <-w.answers:
		if !open {
			<-w.proc.Done
			return r, w.proc.Failure()
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return r, fmt.Errorf("%s: read answer: %w: %.200s", w.proc.Label, err, line)
		}
		if r.Error != "" {
			return r, fmt.Errorf("%s: %s", w.proc.Label, r.Error)
		}
		return r, nil
	case <-ctx.Done():
		return r, fmt.Errorf("%s gives no answer: %w: %s", w.proc.Label, ctx.Err(), w.proc.Said())
	}
}

// send sends a command without waiting for the answer.
func (w *Worker) send(command string) error {
	if _, err := io.WriteString(w.proc.Stdin, command+"\n"); err != nil {
		return fmt.Errorf("%s: send %s: %w: %s", w.proc.Label, command, err, w.proc.Said())
	}
	return nil
}

// ask sends a command and reads its answer.
func (w *Worker) ask(ctx context.Context, command string, patience time.Duration) (tally.Report, error) {
	if err := w.send(command); err != nil {
		return tally.Report{}, err
	}
	return w.await(ctx, patience)
}

// PID is the worker's process.
func (w *Worker) PID() int { return w.proc.PID }

// quit has the worker end, and kills it if it does not.
func (w *Worker) quit() {
	_ = w.send("quit")
	w.proc.Stop(2 * time.Second)
}
