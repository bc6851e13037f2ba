package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// commandLine holds the values of the flags.
type commandLine struct {
	set  layer
	file string
}

// flagText has pflag collect a flag's values as text, so that the same code parses the
// values of all sources.
type flagText struct {
	field *field
	into  layer
}

// Set implements pflag.Value.
func (t flagText) Set(text string) error {
	v := value{texts: t.field.split(text), origin: "--" + t.field.name}
	if t.field.list() {
		v.texts = append(t.into[t.field.name].texts, v.texts...)
	}
	t.into[t.field.name] = v
	return nil
}

// String implements pflag.Value.
func (t flagText) String() string { return "" }

// Type implements pflag.Value.
func (t flagText) Type() string { return "string" }

func parseFlags(args []string) (commandLine, error) {
	c := commandLine{set: layer{}}
	fs := pflag.NewFlagSet("srtrelay", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {} // the caller prints Usage
	for i := range fields {
		f := &fields[i]
		flag := fs.VarPF(flagText{f, c.set}, f.name, "", f.help)
		if f.toggle() {
			flag.NoOptDefVal = "true"
		}
	}
	fs.StringVar(&c.file, "config", "", "")
	version := fs.Bool("version", false, "")

	if err := fs.Parse(args); err != nil {
		return c, flagError(err)
	}
	if *version {
		return c, ErrVersion
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("config: %q: unexpected argument", fs.Arg(0))
	}
	return c, nil
}

// flagError turns an error of pflag into one of this package's form.
func flagError(err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return ErrHelp
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		shown := "--" + name
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name, shown = short, "-"+short
		}
		name, _, _ = strings.Cut(name, "=")
		return fmt.Errorf("config: %s: unknown flag%s", oneLine(shown), suggest(name, "--"))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("config: --%s: value missing", missing.GetSpecifiedName())
	}
	return fmt.Errorf("config: %s", oneLine(err.Error()))
}

// oneLine replaces line breaks, because every error is one line.
func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}
