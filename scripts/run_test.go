package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// make run names the page and the ports that are in force, not the defaults, and
// then starts the relay with the same flags.
func TestRunNamesWhatIsInForce(t *testing.T) {
	for _, c := range []struct {
		listen, api       string
		udp, page, caller string
	}{
		{":20080", "127.0.0.1:12025", "20080\n", "http://127.0.0.1:12025/\n", "'srt://127.0.0.1:20080?"},
		{"udp://:9000,192.0.2.1:9001", ":8080", "9000,192.0.2.1:9001\n", "http://127.0.0.1:8080/\n", "'srt://127.0.0.1:9000?"},
		{"[::1]:9000", "0.0.0.0:12025", "9000\n", "http://127.0.0.1:12025/\n", "'srt://[::1]:9000?"},
		{"9000", "[::]:1", "9000\n", "http://127.0.0.1:1/\n", "'srt://127.0.0.1:9000?"},
	} {
		binary := filepath.Join(t.TempDir(), "srtrelay")
		// What srtrelay config prints, as far as run.sh reads it.
		text := "#!/bin/sh\nif [ \"$1\" = config ]; then\n echo '  --listen " + c.listen + "    --listen'\n echo '  --api " + c.api + "  default'\nelse\n echo \"started $*\"\nfi\n"
		if err := os.WriteFile(binary, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := clocale.Command("./run.sh", binary, "--policy", "hash").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"UDP port " + c.udp, "page   " + c.page, c.caller} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%+v: no %q in\n%s", c, want, out)
			}
		}
		if !strings.HasSuffix(string(out), "\nstarted --policy hash\n") {
			t.Errorf("the relay was not started:\n%s", out)
		}
	}
}

// A mistake is the relay's own line alone, with its exit code.
func TestRunStopsAtAMistake(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "srtrelay")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho 'srtrelay: wrong' >&2\nexit 2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := clocale.Command("./run.sh", binary)
	out, err := command.CombinedOutput()
	if err == nil || command.ProcessState.ExitCode() != 2 || string(out) != "srtrelay: wrong\n" {
		t.Errorf("%v: %s", err, out)
	}
}
