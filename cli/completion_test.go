package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"

	"srtrelay/config"
	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// scripted writes a shell's completion script to a file.
func scripted(t *testing.T, shell string) string {
	t.Helper()
	s, stdout, stderr, _ := testShell(nil)
	if code := s.Run([]string{"completion", shell}); code != exitClean || stderr.Len() > 0 {
		t.Fatalf("%s: exit %d, %s", shell, code, stderr)
	}
	file := filepath.Join(t.TempDir(), "completion."+shell)
	if err := os.WriteFile(file, stdout.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			file := scripted(t, shell)
			if out, err := clocale.Command(need.Tool(t, shell), "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// A real bash completes what the program offers.
func TestBashCompletes(t *testing.T) {
	bash, file, r := need.Tool(t, "bash"), scripted(t, "bash"), newFakeRelay(t)
	// What bash-completion gives; the script needs no more of it.
	const frame = `_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
__ltrim_colon_completions() { :; }
compopt() { :; }
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
__start_srtrelay
printf '%s\n' "${COMPREPLY[@]}"`
	for _, c := range []struct {
		words []string
		want  []string // words of its answer; one candidate has no description
	}{
		{[]string{"se"}, []string{"serve", "sessions"}},
		{[]string{"backends", "dr"}, []string{"drain"}},
		{[]string{"backends", "drain", "origin-"}, []string{"origin-a", "origin-b", "origin-c", "origin-d"}},
		{[]string{"backends", "drain", "origin-a", "origin-"}, []string{"origin-b", "origin-c", "origin-d"}},
		{[]string{"streams", "__default"}, []string{"__defaultVhost__/live/football", "__defaultVhost__/live/東京"}},
		{[]string{"streams", "live/"}, []string{"live/football", "live/東京"}},
		{[]string{"streams", "--sort", "b"}, []string{"bitrate"}},
		{[]string{"sessions", "close", "0"}, []string{"0-17-42"}},
		{[]string{"--list"}, []string{"--listen"}},
		{[]string{"serve", "--max-s"}, []string{"--max-sessions", "--max-sessions-per-source", "--max-sessions-per-subnet"}},
		{[]string{"--policy", ""}, []string{"least-sessions", "hash", "random"}},
		{[]string{"serve", "--log-level=w"}, []string{"warn"}},
		{[]string{"check", "--shards", ""}, nil},
		{[]string{"completion", "z"}, []string{"zsh"}},
		{[]string{"shards", "--ex"}, []string{"--exact"}},
		{[]string{"help", "backends", "for"}, []string{"forget"}},
	} {
		command := clocale.Command(bash, append([]string{"--norc", "--noprofile", "-c", frame, "bash", file, "srtrelay"}, c.words...)...)
		command.Env = append(asProgram(t), "SRTRELAY_API="+r.Listener.Addr().String())
		out, err := command.CombinedOutput()
		var got []string
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) > 0 {
				got = append(got, fields[0])
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v\n%swant %q", c.words, err, out, c.want)
		}
	}
}

// asProgram returns variables with which a shell finds this test binary as srtrelay.
func asProgram(t *testing.T) []string {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "srtrelay")); err != nil {
		t.Fatal(err)
	}
	return commandEnv("PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME="+bin, "TERM=dumb")
}

// A real fish offers the values of a setting.
func TestFishCompletesValues(t *testing.T) {
	fish, file := need.Tool(t, "fish"), scripted(t, "fish")
	for line, want := range map[string][]string{
		"srtrelay --policy ":         {"hash", "least-sessions", "random"},
		"srtrelay serve --policy=ra": {"--policy=random"},
		"srtrelay check --gso ":      {"auto", "off"},
	} {
		command := clocale.Command(fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, file, line)
		command.Env = asProgram(t)
		out, err := command.CombinedOutput()
		got := strings.Fields(string(out))
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v\n%swant %q", line, err, out, want)
		}
	}
}

// A real zsh, on a terminal, lists the values of a setting at the Tab key.
func TestZshCompletesValues(t *testing.T) {
	zsh, file := need.Tool(t, "zsh"), scripted(t, "zsh")
	command := clocale.Command(zsh, "-f", "-i")
	command.Env = asProgram(t)
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	output, kept := readAll(terminal), bytes.Buffer{}
	write := func(text string) {
		if _, err := io.WriteString(terminal, text); err != nil {
			t.Fatal(err)
		}
	}
	write("autoload -U compinit; compinit -D -u; source " + file + "; echo rea\"\"dy\n")
	seen(t, output, &kept, "ready")
	write("srtrelay --policy \t")
	seen(t, output, &kept, "hash            least-sessions  random")
	write("ra\t")
	seen(t, output, &kept, "random")
	write("\x15exit\n") // Ctrl-U takes the line away
	for range output {
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%v\n%q", err, kept.String())
	}
	_ = terminal.Close()
}

// Without a relay a completion offers nothing, and says nothing.
func TestCompletionWithoutRelay(t *testing.T) {
	s, stdout, _, _ := testShell(nil)
	if code := s.Run([]string{"__complete", "sessions", "--api", "127.0.0.1:1", "close", ""}); code != exitClean || stdout.String() != ":4\n" {
		t.Errorf("exit %d, %q", code, stdout)
	}
}

// Every command and flag is in the help, the man page and the completion.
func TestNothingIsUntold(t *testing.T) {
	s, _, _, _ := testShell(nil)
	root := s.root()
	page, usage := strings.ReplaceAll(s.manPage(root), `\-`, "-"), s.usage()
	for _, c := range visible(root) {
		for _, sub := range append(visible(c), c) {
			if sub.Short == "" || sub.Long == "" && sub.Name() != "serve" && sub.Name() != "help" {
				t.Errorf("%s says nothing of itself", path(sub))
			}
			if !strings.Contains(usage, shortSynopsis(sub)) || !strings.Contains(page, `.SS "`+synopsis(sub)+`"`) {
				t.Errorf("%s is not told of", path(sub))
			}
			help := s.usageOf(sub)
			for _, row := range flagRows(sub) {
				if row[1] == "" || !strings.Contains(help, row[0]) || !strings.Contains(page, `.B "`+row[0]+`"`) {
					t.Errorf("%s %s is not told of", path(sub), row[0])
				}
			}
			for line := range strings.Lines(help) {
				if len(line) > 121 {
					t.Errorf("%s: too wide: %s", path(sub), line)
				}
			}
		}
	}
	for _, setting := range config.Settings() {
		if !strings.Contains(page, `.B "--`+setting.Name) {
			t.Errorf("--%s is not in the man page", setting.Name)
		}
	}
}

// The man page is free of what formatters warn about.
func TestManPageIsClean(t *testing.T) {
	s, stdout, _, _ := testShell(nil)
	if code := s.Run([]string{"man"}); code != exitClean {
		t.Fatalf("exit %d", code)
	}
	for _, linter := range []string{"groff -man -Tutf8 -ww -z", "mandoc -T lint -W warning"} {
		t.Run(strings.Fields(linter)[0], func(t *testing.T) {
			args := strings.Fields(linter)
			command := clocale.Command(need.Tool(t, args[0]), args[1:]...)
			command.Stdin = strings.NewReader(stdout.String())
			if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
