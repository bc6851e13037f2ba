package term

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"srtrelay/api/answer"
)

// maxFilter is more than the longest filter that a person types.
const maxFilter = 200

// orders are the keys that change the order.
var orders = map[string]string{
	"1": answer.SortBitrate, "b": answer.SortBitrate,
	"2": answer.SortRTT, "r": answer.SortRTT,
	"3": answer.SortLoss, "l": answer.SortLoss,
	"4": answer.SortSessions, "s": answer.SortSessions,
	"5": answer.SortKey, "n": answer.SortKey,
}

// handleKey handles a key.
func (t *top) handleKey(key tea.KeyPressMsg) tea.Cmd {
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
			return t.query()
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
		return t.query()
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
	return t.queryIfShort()
}

// enter opens the selected row.
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
	t.stack = append(t.stack, savedScreen{t.screen, t.cursor})
	t.screen, t.cursor, t.view.gone = t.screen+1, cursor{}, false
	return t.query()
}

// back returns to the screen before; on the first screen it removes the filter.
func (t *top) back() tea.Cmd {
	if len(t.stack) == 0 {
		if t.match == "" {
			return nil
		}
		t.match, t.cursor = "", cursor{}
		return t.query()
	}
	last := t.stack[len(t.stack)-1]
	t.stack = t.stack[:len(t.stack)-1]
	t.screen, t.cursor, t.view.gone = last.screen, last.cursor, false
	return t.query()
}

// typeFilter edits the filter; Enter applies it, Esc discards it.
func (t *top) typeFilter(key tea.KeyPressMsg) tea.Cmd {
	switch key.String() {
	case "enter":
		t.match, t.typing, t.cursor = *t.typing, nil, cursor{}
		return t.query()
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

// printableOnly removes characters that are not printable.
func printableOnly(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}
