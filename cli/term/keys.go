package term

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"srtrelay/api/answer"
)

// maxFilter is longer than any stream key that a person types.
const maxFilter = 200

// orders are the keys that sort.
var orders = map[string]string{
	"1": answer.SortBitrate, "b": answer.SortBitrate,
	"2": answer.SortRTT, "r": answer.SortRTT,
	"3": answer.SortLoss, "l": answer.SortLoss,
	"4": answer.SortSessions, "s": answer.SortSessions,
	"5": answer.SortKey, "n": answer.SortKey,
}

// press does what a key asks for.
func (t *top) press(key tea.KeyPressMsg) tea.Cmd {
	if key.String() == "ctrl+c" {
		return tea.Quit
	}
	if t.typing != nil {
		return t.typeFilter(key)
	}
	if t.help {
		t.help = false
		if key.String() == "q" {
			return tea.Quit
		}
		return nil
	}
	switch name := key.String(); name {
	case "q":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "?", "h", "f1":
		t.help = true
	case "p", "space":
		t.paused = !t.paused
		if !t.paused {
			return t.ask()
		}
	case "x":
		t.figures.exact = !t.figures.exact
	case "/":
		if t.screen == streamScreen {
			typed := t.match
			t.typing = &typed
		}
	case "enter", "right":
		return t.enter()
	case "esc", "backspace", "left":
		return t.back()
	default:
		return t.moveOrSort(name)
	}
	return nil
}

func (t *top) moveOrSort(name string) tea.Cmd {
	if order, ok := orders[name]; ok && t.screen == streamScreen {
		t.sort, t.cursor = order, cursor{}
		return t.ask()
	}
	half := max(t.height/2, 1)
	steps := map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -half, "ctrl+b": -half, "pgdown": half, "ctrl+f": half,
		"home": -1 << 30, "g": -1 << 30, "end": 1 << 30, "G": 1 << 30,
	}
	by, ok := steps[name]
	if !ok {
		return nil
	}
	if t.screen == sessionScreen {
		t.scroll(by)
		return nil
	}
	t.cursor.move(by, t.ids())
	return t.askIfShort()
}

// enter opens what the cursor points at.
func (t *top) enter() tea.Cmd {
	ids := t.ids()
	if t.cursor.at >= len(ids) {
		return nil
	}
	switch t.screen {
	case streamScreen:
		t.key, t.view.stream = ids[t.cursor.at], answer.StreamDetail{}
	case detailScreen:
		t.id, t.view.session = ids[t.cursor.at], t.view.stream.SessionList[t.cursor.at]
	case sessionScreen:
		return nil
	}
	t.stack = append(t.stack, place{t.screen, t.cursor})
	t.screen, t.cursor, t.view.gone = t.screen+1, cursor{}, false
	return t.ask()
}

// back goes where the present screen was opened from; on the first screen it
// takes the filter away.
func (t *top) back() tea.Cmd {
	if len(t.stack) == 0 {
		if t.match == "" {
			return nil
		}
		t.match, t.cursor = "", cursor{}
		return t.ask()
	}
	last := t.stack[len(t.stack)-1]
	t.stack = t.stack[:len(t.stack)-1]
	t.screen, t.cursor, t.view.gone = last.screen, last.cursor, false
	return t.ask()
}

// typeFilter edits the filter; Enter takes it, Esc leaves it as it was.
func (t *top) typeFilter(key tea.KeyPressMsg) tea.Cmd {
	switch key.String() {
	case "enter":
		t.match, t.typing, t.cursor = *t.typing, nil, cursor{}
		return t.ask()
	case "esc":
		t.typing = nil
	case "backspace":
		if runes := []rune(*t.typing); len(runes) > 0 {
			*t.typing = string(runes[:len(runes)-1])
		}
	case "ctrl+u", "ctrl+w":
		*t.typing = ""
	default:
		if text := printableOnly(key.Text); len(*t.typing)+len(text) <= maxFilter {
			*t.typing += text
		}
	}
	return nil
}

// printableOnly leaves out what cannot be part of a line.
func printableOnly(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}
