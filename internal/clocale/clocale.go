// Package clocale starts programs in the C locale, so that their output can be
// parsed: in another locale perf, ip, redis-cli or awk may write 0,5 for 0.5,
// sort differently, or print messages in the operator's language.
//
// It is for tests and tools only.
package clocale

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Environ returns the environment of this process without variables of language and
// locale, with LC_ALL=C, and then the added variables.
func Environ(added ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "LC_ALL" || name == "LANGUAGE"
	})
	return append(append(env, "LC_ALL=C"), added...)
}

// Command is exec.Command with that environment.
func Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = Environ()
	return cmd
}

// CommandContext is exec.CommandContext with that environment.
func CommandContext(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = Environ()
	return cmd
}
