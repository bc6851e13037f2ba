package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reportVariable has the number of the descriptor to which a launched process reports.
const reportVariable = "SRTRELAY_TAKEOVER_REPORT"

// maxReport bounds a report, in bytes.
const maxReport = 4 << 10

// LaunchTimeout is how long a launched process should get for its take-over: for all that
// it does before it connects, such as asking name servers, and the Probation.
const LaunchTimeout = time.Minute

// endTimeout is how long a process may take to end after it has reported a failure.
const endTimeout = 5 * time.Second

// Verdict is how a take-over has ended.
type Verdict struct {
	PID      int           `json:"pid"`      // of the process that gave, 0 if it is in another PID namespace
	Took     time.Duration `json:"took"`     // for which callers waited
	Sessions int           `json:"sessions"` // taken over
	// Failed is why there was none, "" if there was one.
	Failed string `json:"failed,omitempty"`
}

// Program is a program to launch.
type Program struct {
	Path           string
	Args           []string // without the name
	Env            []string
	Stdout, Stderr *os.File
}

// Launch starts a process in a session of its own, and waits until it reports that it has
// taken over. If it does not, or ctx ends, the error says why, and the process has ended.
func Launch(ctx context.Context, p Program) (Verdict, error) {
	reports, theirs, err := os.Pipe()
	if err != nil {
		return Verdict{}, err
	}
	defer reports.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.ExtraFiles = []*os.File{theirs} // becomes descriptor 3
	cmd.Env = slices.DeleteFunc(slices.Clone(p.Env), func(v string) bool { return strings.HasPrefix(v, reportVariable+"=") })
	cmd.Env = append(cmd.Env, reportVariable+"=3")
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return Verdict{}, fmt.Errorf("starting the new process: %w", err)
	}
	verdict, err := awaitReport(ctx, reports)
	if err == nil {
		return verdict, cmd.Process.Release()
	}
	grace := endTimeout
	if ctx.Err() != nil {
		grace = 0
	}
	if ended := waitEnd(cmd, grace); errors.Is(err, errUnreported) {
		err = fmt.Errorf("ended before it had settled: %s", ended)
	}
	return Verdict{}, fmt.Errorf("the new process (PID %d): %w", cmd.Process.Pid, err)
}

// errUnreported says that a process has ended without a report.
var errUnreported = errors.New("no report")

// awaitReport reads a verdict.
func awaitReport(ctx context.Context, reports *os.File) (v Verdict, err error) {
	stop := context.AfterFunc(ctx, func() { _ = reports.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(reports, maxReport))
	switch {
	case len(b) == 0 && ctx.Err() != nil:
		return v, fmt.Errorf("given up: %w", context.Cause(ctx))
	case err != nil:
		return v, err
	case len(b) == 0:
		return v, errUnreported
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("bad report: %w", err)
	}
	if v.Failed != "" {
		return v, errors.New(printable(v.Failed, maxReason))
	}
	return v, nil
}

// waitEnd waits until a process has ended, and kills it after a time.
func waitEnd(cmd *exec.Cmd, grace time.Duration) string {
	timer := time.AfterFunc(grace, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // the state says more
	return cmd.ProcessState.String()
}

// Report is where a launched process reports. A nil Report reports nothing.
type Report struct{ file *os.File }

// OpenReport returns the report that the environment names, or nil, and removes it from
// the environment: it is for this process only. Call it before other goroutines run.
func OpenReport() *Report {
	text, set := os.LookupEnv(reportVariable)
	if !set {
		return nil
	}
	_ = os.Unsetenv(reportVariable)
	fd, err := strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return nil
	}
	// The variable may be left of something else, and the descriptor then of anything. An
	// os.File would close it when it is collected.
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil
	}
	syscall.CloseOnExec(fd)
	return &Report{os.NewFile(uintptr(fd), "report")}
}

// Settled reports a take-over.
func (r *Report) Settled(v Verdict) { r.send(v) }

// Fail reports that there will be none. It returns false if nobody reads it: nobody has
// launched this process, or the launcher is gone, or knows the verdict already.
func (r *Report) Fail(err error) bool {
	return r.send(Verdict{Failed: printable(err.Error(), maxReason)})
}

// send sends a verdict and closes the pipe. A second one goes nowhere.
func (r *Report) send(v Verdict) bool {
	if r == nil {
		return false
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = r.file.Write(b)
	}
	_ = r.file.Close()
	return err == nil
}
