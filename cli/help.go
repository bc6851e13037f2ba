package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"srtrelay/config"
)

// visible returns the commands below c that help lists, in the order of commands; help is
// last.
func visible(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			all = append(all, sub)
		}
	}
	for _, sub := range c.Commands() {
		if sub.Name() == "help" {
			all = append(all, sub)
		}
	}
	return all
}

// usage returns the text of srtrelay help.
func (s *Shell) usage() string { return config.Usage(commandLines(s.root())) }

// usageOf returns the help text of a command.
func (s *Shell) usageOf(c *cobra.Command) string {
	if !c.HasParent() || c.Name() == "serve" || c.Name() == "help" {
		return s.usage()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", c.Long, synopsis(c))
	for _, sub := range visible(c) {
		fmt.Fprintf(&b, "  %s\n", synopsis(sub))
	}
	if rows := flagRows(c); len(rows) > 0 {
		b.WriteString("\nFlags:\n" + columns(rows))
	}
	b.WriteByte('\n')
	if note := c.Annotations[noteText]; note != "" {
		b.WriteString(note + "\n")
	}
	fmt.Fprintf(&b, "Exit codes: %s\n", exits(c))
	return b.String()
}

func exits(c *cobra.Command) string {
	if text := c.Annotations[exitText]; text != "" {
		return text
	}
	return apiExits
}

// synopsis returns a command with its arguments.
func synopsis(c *cobra.Command) string {
	line := c.CommandPath()
	if c.Name() == "serve" {
		line = "srtrelay [serve]"
	}
	_, args, _ := strings.Cut(c.Use, " ")
	if c.HasAvailableLocalFlags() && !c.DisableFlagsInUseLine {
		line += " [flags]"
	}
	return strings.TrimRight(line+" "+args, " ")
}

// commandLines lists all commands with their descriptions.
func commandLines(root *cobra.Command) string {
	var rows [][2]string
	for _, c := range visible(root) {
		rows = append(rows, [2]string{shortSynopsis(c), c.Short})
		for _, sub := range visible(c) {
			rows = append(rows, [2]string{shortSynopsis(sub), sub.Short})
		}
	}
	return columns(rows)
}

// shortSynopsis is the synopsis without [flags], except for serve.
func shortSynopsis(c *cobra.Command) string {
	return strings.Replace(synopsis(c), " [flags]", map[bool]string{true: " [flags]"}[c.Name() == "serve"], 1)
}

// flagRows returns a command's flags with their descriptions.
func flagRows(c *cobra.Command) [][2]string {
	var rows [][2]string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			rows = append(rows, [2]string{flagShown(f), f.Usage})
		}
	})
	return rows
}

// flagShown returns a flag with its short form and the placeholder of its value.
func flagShown(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if arg := f.Annotations[argText]; len(arg) > 0 {
		name += " " + arg[0]
	}
	return name
}

// columns aligns the second column of indented rows.
func columns(rows [][2]string) string {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, row[0], row[1])
	}
	return b.String()
}

func (s *Shell) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "print this text, or the help of a command", DisableFlagsInUseLine: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			at, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return subcommands(at, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			at, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageErrorf("no such command: %q", strings.Join(args, " "))
			}
			return exit(s.print(s.usageOf(at)))
		},
	}
}
