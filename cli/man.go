package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"srtrelay/config"
)

// manDate is the date of the last change to the page's own text.
const manDate = "November 30, 2026"

func (s *Shell) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man", Short: "print the manual page", DisableFlagsInUseLine: true,
		Long: "Print the manual page: srtrelay man | man -l -",
		Args: argCount(0, 0, "no arguments"), ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{exitText: "0 printed, 2 the command line is wrong."},
		RunE:        func(c *cobra.Command, _ []string) error { return exit(s.print(s.manPage(c.Root()))) },
	}
}

// roff builds a manual page.
type roff struct{ strings.Builder }

// macro writes a macro call with its arguments.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, arg := range args {
		r.WriteString(` "` + strings.ReplaceAll(escape(arg), `"`, `\(dq`) + `"`)
	}
	r.WriteByte('\n')
}

// text writes plain lines.
func (r *roff) text(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			r.WriteString(`\&`)
		}
		r.WriteString(escape(line) + "\n")
	}
}

// item writes a term with its description below.
func (r *roff) item(term, text string) {
	r.macro("TP")
	r.macro("B", term)
	r.text(text)
}

// escape escapes roff's special characters. A plain - would become a hyphen, which cannot be
// copied into a shell.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "–", `\(en`).Replace(text)
}

// manPage returns the manual page of all commands, made from the same tables as the help.
func (s *Shell) manPage(root *cobra.Command) string {
	r := new(roff)
	r.macro("TH", "SRTRELAY", "1", manDate, "srtrelay "+s.Version, "User Commands")
	r.macro("SH", "NAME")
	r.text("srtrelay - relay SRT callers to SRT backends, datagram by datagram")
	r.macro("SH", "SYNOPSIS")
	for i, c := range visible(root) {
		if i > 0 {
			r.macro("br")
		}
		r.macro("B", shortSynopsis(c))
		for _, sub := range visible(c) {
			r.macro("br")
			r.macro("B", shortSynopsis(sub))
		}
	}
	r.macro("SH", "DESCRIPTION")
	r.text(aboutRelay)
	r.macro("SH", "COMMANDS")
	for _, c := range visible(root) {
		r.command(c)
	}
	r.settings()
	r.rest()
	return r.String()
}

const aboutRelay = `Relays SRT callers to SRT servers, the backends, without terminating the SRT connection:
encrypted streams stay encrypted. The stream ID of a caller selects its backend; all callers of
one stream get the same backend. The other commands call the HTTP API of a running relay.`

// command describes a command and its subcommands.
func (r *roff) command(c *cobra.Command) {
	r.macro("SS", synopsis(c))
	if c.Long == "" {
		r.text(capitalized(c.Short) + ".")
	} else {
		r.text(c.Long)
	}
	for _, row := range flagRows(c) {
		r.item(row[0], row[1])
	}
	if note := c.Annotations[noteText]; note != "" {
		r.macro("PP")
		for i, line := range strings.Split(note, "\n") {
			if i > 0 {
				r.macro("br")
			}
			r.text(line)
		}
	}
	if c.Name() != "serve" && c.Name() != "help" {
		r.macro("PP")
		r.text("Exit codes: " + exits(c))
	}
	for _, sub := range visible(c) {
		r.command(sub)
	}
}

// settings describes the flags of serve.
func (r *roff) settings() {
	r.macro("SH", "SETTINGS")
	r.text("Flags of serve. A flag overrides its variable, the variable overrides the key of the same name in\nthe file, and the key overrides the default. Values of lists are separated by commas; flags of\nlists may be repeated. A running relay reads the file again on SIGHUP and srtrelay reload, which\napplies the settings that are reloadable; all others need a new process, srtrelay upgrade.")
	group := ""
	for _, setting := range config.Settings() {
		if setting.Group != group {
			group = setting.Group
			r.macro("SS", group)
		}
		r.item(strings.TrimRight("--"+setting.Name+" "+setting.Arg, " "),
			fmt.Sprintf("%s; default %s; env %s%s", setting.Help, setting.Default, strings.Join(setting.Env, ", "),
				map[bool]string{true: "; reloadable"}[setting.InPlace]))
	}
	r.macro("SS", "Others")
	r.item("--config FILE", "YAML file of settings; env SRTRELAY_CONFIG")
	r.item("--version", "print the version")
	r.item("-h, --help", "print the help text")
}

// rest writes the sections that are not made from a table.
func (r *roff) rest() {
	r.macro("SH", "SIGNALS")
	r.item("SIGTERM, SIGINT", "the first has new callers refused, after --drain-delay, and lets sessions drain, for --grace at most; the second ends them; the third ends the process. Signals within a second are one")
	r.item("SIGHUP", "reads the files of --config and --rules again, as srtrelay reload does")
	r.item("SIGUSR2", "starts the program again, as it is in the file system now, with the same arguments; the new process takes over as after srtrelay upgrade")
	r.macro("SH", "EXIT STATUS")
	r.item("0", "stopped normally, or done")
	r.item("1", "failed while running, or the relay cannot be reached or refuses")
	r.item("2", "could not start, or the command line is wrong")
	r.macro("SH", "EXAMPLES")
	r.item("srtrelay --backend srt://10.0.0.1:10080 --backend srt://10.0.0.2:10080", "run a relay with two backends")
	r.item("srtrelay upgrade --config /etc/srtrelay/relay.yaml", "replace the running relay; no stream notices")
	r.item("srtrelay top --sort loss", "watch the streams that lose most")
	r.item("srtrelay sessions --stream live/livestream --json", "the sessions of a stream, for a script")
	r.item("srtrelay capture --stream live/livestream -o file.pcapng", "headers of a stream's datagrams, for Wireshark")
}

// capitalized returns text with a capital letter first.
func capitalized(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}
