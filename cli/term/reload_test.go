package term

import (
	"strings"
	"testing"

	"srtrelay/api/answer"
)

func TestReload(t *testing.T) {
	const file = "/etc/srtrelay/relay.yaml"
	for _, c := range []struct {
		name  string
		reply answer.Reload
		want  string
	}{
		{"no file", answer.Reload{}, "there is no configuration file; flags and variables do not change\n"},
		{"nothing", answer.Reload{File: file}, "no setting has changed in " + file + "\n"},
		{"rules", answer.Reload{File: file, Rules: "/r.yaml"}, "no setting has changed in " + file + "\nrules in force from /r.yaml\n"},
		{
			"secrets without a file",
			answer.Reload{CookieSecrets: 2},
			"there is no configuration file; flags and variables do not change\nshared secrets in force from their file: 2\n",
		},
		{
			"changes",
			answer.Reload{File: file, Changes: []answer.SettingChange{
				{Setting: "grace", From: "20s", To: "1m", Applied: true},
				{Setting: "shards", From: "2", To: "4"},
				{Setting: "max-sessions", From: "1", To: "2", Why: "at most 1"},
				{Setting: "backend", From: strings.Repeat("a", 41), To: "a\x1bb", Applied: true},
			}},
			"SETTING       FROM                                      TO      IN FORCE\n" +
				"grace         20s                                       1m      yes\n" +
				"shards        2                                         4       no, needs srtrelay upgrade\n" +
				"max-sessions  1                                         2       no, needs srtrelay upgrade: at most 1\n" +
				"backend       " + strings.Repeat("a", 39) + "…  a\\x1bb  yes\n",
		},
	} {
		got := Formatter{}.Reload(c.reply)
		if !strings.HasPrefix(got, c.want) || strings.Contains(got, "\x1b") {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
