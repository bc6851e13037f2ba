package udp

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// A shard's thread has more time than others, and has it sooner.
func TestPreferThread(t *testing.T) {
	need.Root(t, "raising a priority")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		before, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		PreferThread()
		after, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		if after.Nice != shardNice {
			t.Errorf("nice %d, want %d", after.Nice, shardNice)
		}
		// Kernels without slices of a thread's own say 0. Other policies have none.
		if before.Policy == unix.SCHED_NORMAL && before.Runtime != 0 && after.Runtime != uint64(shardSlice) {
			t.Errorf("slice of %d ns, want %v", after.Runtime, shardSlice)
		}
	}()
	<-done
}

// A session of its own gets the shards' weight; one that is shared with others,
// as that of whoever runs this test, stays as it is.
func TestPreferSession(t *testing.T) {
	const child = "SRTRELAY_TEST_PREFER_SESSION"
	if os.Getenv(child) != "" {
		PreferSession()
		group, err := os.ReadFile(autogroup)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(group))
		return
	}
	need.Root(t, "raising a priority")
	if _, err := os.Stat(autogroup); err != nil {
		need.Skip(t, "this kernel does not schedule by session (CONFIG_SCHED_AUTOGROUP)")
	}
	for _, c := range []struct{ name, script, want string }{
		{"leader", `exec "$0" -test.run='^TestPreferSession$'`, "nice -10"},
		{"one of several", `"$0" -test.run='^TestPreferSession$'; exit $?`, "nice 0"},
	} {
		cmd := clocale.Command("/bin/sh", "-c", c.script, os.Args[0])
		cmd.Env = clocale.Environ(child + "=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		if got := string(out); !strings.Contains(got, c.want) {
			t.Errorf("%s of its session: %s, want %s", c.name, got, c.want)
		}
	}
}
