//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
)

// Program is what to start in a namespace.
type Program struct {
	Label string // what messages call it
	Args  []string
	Env   []string // added to the suite's own
	CPUs  []int    // empty: all
	Stdin bool     // Process.Stdin and Stdout are pipes
	// Stderr is where messages go; nil: their end is kept, see Process.Said.
	Stderr *os.File
}

// Process is a running program. It is dead and reaped when Done is closed.
type Process struct {
	Label  string
	PID    int
	Stdin  io.WriteCloser
	Stdout io.ReadCloser
	Done   chan struct{}

	cmd  *exec.Cmd
	err  error
	tail *tail
}

// Start runs a program in the namespace, on its CPUs.
func (n *Namespace) Start(p Program) (*Process, error) {
	cmd := clocale.Command(p.Args[0], p.Args[1:]...)
	cmd.Env = clocale.Environ(p.Env...)
	// Its own group: Ctrl-C reaches the suite alone, which then ends the rest
	// in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	proc := &Process{Label: p.Label, Done: make(chan struct{}), cmd: cmd, tail: &tail{}}
	cmd.Stderr = proc.tail
	if p.Stderr != nil {
		cmd.Stderr = p.Stderr
	}
	if p.Stdin {
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.Label, err)
		}
		// Not StdoutPipe: Wait would close it before the last line is read.
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.Label, err)
		}
		defer w.Close()
		cmd.Stdout, proc.Stdin, proc.Stdout = w, in, r
	} else {
		cmd.Stdout = proc.tail
	}
	if err := n.Do(func() error { return startOn(cmd, p.CPUs) }); err != nil {
		if proc.Stdout != nil {
			_ = proc.Stdout.Close()
		}
		return nil, fmt.Errorf("start %s: %w", p.Label, err)
	}
	proc.PID = cmd.Process.Pid
	n.mu.Lock()
	n.procs[proc] = true
	n.mu.Unlock()
	go func() {
		proc.err = cmd.Wait()
		n.mu.Lock()
		delete(n.procs, proc)
		n.mu.Unlock()
		close(proc.Done)
	}()
	return proc, nil
}

// Run runs a program in the namespace until it ends, and returns what it wrote
// to both outputs.
func (n *Namespace) Run(ctx context.Context, args ...string) (string, error) {
	cmd := clocale.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// It must not be killed with the thread of the namespace; its parent waits for it.
	if err := n.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("run %s: %w", args[0], err)
	}
	err := cmd.Wait()
	text := strings.TrimSpace(out.String())
	if err != nil {
		return text, fmt.Errorf("run %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// startOn forks with the CPUs set on the forking thread, which the child
// inherits before its first instruction, so that its runtime counts them.
func startOn(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	var before, want unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	for _, c := range cpus {
		want.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("pin to CPU %v: %w", cpus, err)
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

// Signal sends a signal, such as SIGSTOP, which the process need not survive.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.Label, err)
	}
	return nil
}

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Done
	p.closePipes()
}

// Stop asks the process to end, and kills it if it has not in the given time.
func (p *Process) Stop(patience time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.Done:
		p.closePipes()
	case <-timer.C:
		p.Kill()
	}
}

func (p *Process) closePipes() {
	if p.Stdout != nil {
		_ = p.Stdout.Close()
		_ = p.Stdin.Close()
	}
}

// Failure describes an early end, with the last of what the process said.
func (p *Process) Failure() error {
	select {
	case <-p.Done:
		return fmt.Errorf("%s ended: %v: %s", p.Label, p.err, p.Said())
	default:
		return fmt.Errorf("%s: %s", p.Label, p.Said())
	}
}

// ExitCode is that of a process that is gone, -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.Done
	return p.cmd.ProcessState.ExitCode()
}

// Said is the last of what the process wrote to its log.
func (p *Process) Said() string { return p.tail.String() }

// tailSize keeps a few dozen lines: enough for a panic's head.
const tailSize = 8 << 10

// tail keeps the end of what was written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
