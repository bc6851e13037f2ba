package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
	"srtrelay/config"
	"srtrelay/streamid"
)

// completionTimeout bounds how long a person waits after the Tab key.
const completionTimeout = time.Second

// shells are those with a completion script.
var shells = []string{"bash", "zsh", "fish"}

func (s *Shell) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "print a script that completes command lines", DisableFlagsInUseLine: true,
		Long: "Print a script for a shell that completes commands, flags, and of a running relay its stream\n" +
			"keys, session IDs and backend IDs.",
		Args: argCount(1, 1, "one of "+strings.Join(shells, ", ")), ValidArgs: shells,
		ValidArgsFunction: cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp),
		Annotations: map[string]string{
			noteText: "bash: source <(srtrelay completion bash), or into /etc/bash_completion.d/srtrelay\n" +
				"zsh:  srtrelay completion zsh > \"${fpath[1]}/_srtrelay\"\n" +
				"fish: srtrelay completion fish > ~/.config/fish/completions/srtrelay.fish",
			exitText: "0 printed, 2 the command line is wrong.",
		},
		RunE: func(c *cobra.Command, args []string) error {
			var script bytes.Buffer
			var err error
			switch args[0] {
			case "bash":
				err = c.Root().GenBashCompletionV2(&script, true)
			case "zsh":
				err = c.Root().GenZshCompletion(&script)
			case "fish":
				err = c.Root().GenFishCompletion(&script, true)
			default:
				return usageErrorf("no such shell: %q, there are %s", args[0], strings.Join(shells, ", "))
			}
			if err != nil {
				return err
			}
			return exit(s.print(script.String()))
		},
	}
}

// completer returns the candidates for an argument that begins with begun, each optionally
// with a tab and a description.
type completer func(ctx context.Context, c *client.Client, begun string) ([]string, error)

// complete returns a completion that asks the relay. It returns nothing if there are most
// arguments already (-1 for no limit), or if no relay answers.
func (a *apiCommand) complete(most int, from completer) cobra.CompletionFunc {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	return func(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, nothing
		}
		c, err := a.client()
		if err != nil {
			return nil, nothing
		}
		defer c.Close()
		ctx, stop := context.WithTimeout(command.Context(), completionTimeout)
		defer stop()
		found, err := from(ctx, c, begun)
		if err != nil {
			return nil, nothing
		}
		found = slices.DeleteFunc(found, func(text string) bool {
			value, _, _ := strings.Cut(text, "\t")
			return !strings.HasPrefix(value, begun) || slices.Contains(args, value) || strings.ContainsAny(value, "\n\r")
		})
		return found, nothing
	}
}

func streamKeys(ctx context.Context, c *client.Client, begun string) ([]string, error) {
	list, err := client.Streams(answer.StreamQuery{Match: begun, Sort: answer.SortKey, Limit: answer.MaxLimit}).Do(ctx, c)
	var keys []string
	for _, stream := range list.Streams {
		key := stream.Key
		// As lists show it, unless the whole key is being typed.
		if short, found := strings.CutPrefix(key, streamid.DefaultVhost+"/"); found && short != "" && (begun == "" || !strings.HasPrefix(key, begun)) {
			key = short
		}
		keys = append(keys, key)
	}
	return keys, err
}

func sessionIDs(ctx context.Context, c *client.Client, _ string) ([]string, error) {
	list, err := client.Sessions(answer.SessionQuery{Limit: answer.MaxLimit}).Do(ctx, c)
	var ids []string
	for _, session := range list.Sessions {
		ids = append(ids, session.ID+"\t"+session.Role+" of "+answer.Printable(session.Stream))
	}
	return ids, err
}

func backendIDs(ctx context.Context, c *client.Client, _ string) ([]string, error) {
	list, err := client.Backends().Do(ctx, c)
	var ids []string
	for _, b := range list.Backends {
		ids = append(ids, b.ID)
	}
	return ids, err
}

func relayNames(ctx context.Context, c *client.Client, _ string) ([]string, error) {
	list, err := client.Relays().Do(ctx, c)
	var names []string
	for _, r := range list.Relays {
		names = append(names, r.Name)
	}
	return names, err
}

// subcommands returns the commands below c that begin with begun.
func subcommands(c *cobra.Command, begun string) []cobra.Completion {
	var found []cobra.Completion
	for _, sub := range c.Commands() {
		if strings.HasPrefix(sub.Name(), begun) {
			found = append(found, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return found
}

// completeFlag sets the completion of a flag's value. It panics for a flag that does not
// exist or already has one.
func completeFlag(c *cobra.Command, name string, by cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(name, by); err != nil {
		panic(err)
	}
}

// completeSettings completes the flags of serve, which package config reads.
func completeSettings(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	flag, value, joined := strings.Cut(begun, "=")
	if !joined && len(args) > 0 {
		flag, value = args[len(args)-1], begun
	}
	switch setting := settingOf(flag); {
	case slices.Contains(fileFlags, flag):
		return nil, cobra.ShellCompDirectiveDefault
	case joined || setting.Arg != "":
		return beginningWith(value, slices.Clone(setting.Values)), nothing
	case !strings.HasPrefix(begun, "-"):
		return nil, nothing
	}
	found := []cobra.Completion{
		cobra.CompletionWithDesc("--config", "YAML file of settings"), cobra.CompletionWithDesc("--version", "print the version"),
		cobra.CompletionWithDesc("--help", "print the help text"),
	}
	for _, setting := range config.Settings() {
		found = append(found, cobra.CompletionWithDesc("--"+setting.Name, setting.Help))
	}
	return beginningWith(begun, found), nothing
}

// fileFlags are the flags of serve whose values are files.
var fileFlags = []string{"--config", "--rules", "--session-ledger", "--takeover-socket", "--event-log"}

// settingOf returns the setting of a flag, the zero Setting if it has none.
func settingOf(flag string) config.Setting {
	all := config.Settings()
	if i := slices.IndexFunc(all, func(s config.Setting) bool { return "--"+s.Name == flag }); i >= 0 {
		return all[i]
	}
	return config.Setting{}
}

func beginningWith(begun string, found []cobra.Completion) []cobra.Completion {
	return slices.DeleteFunc(found, func(text cobra.Completion) bool { return !strings.HasPrefix(text, begun) })
}
