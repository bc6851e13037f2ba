package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

// interval is how often the live view asks. The relay's own rates are of one
// second: asking more often would show the same.
const interval = time.Second

// TopOptions are what srtrelay top was told.
type TopOptions struct {
	Sort    string // see answer.SortBitrate and the others
	Match   string // what the keys must contain
	Backend string // of one backend only
	Exact   bool
	In      io.Reader
	Out     io.Writer
	Env     []string
}

// Top runs the live view until its user ends it or ctx does.
func Top(ctx context.Context, c *client.Client, o TopOptions) error {
	program := tea.NewProgram(newTop(ctx, c, o), tea.WithContext(ctx), tea.WithInput(o.In),
		tea.WithOutput(o.Out), tea.WithEnvironment(o.Env))
	_, err := program.Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run the live view: %w", err)
	}
	return nil
}

// Is reports whether a stream of this process, a reader or a writer, is a
// terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(file.Fd())
}

// screen is what the lower part shows.
type screen int

const (
	streamScreen  screen = iota // all streams
	detailScreen                // one stream and its sessions
	sessionScreen               // one session whole
)

// top is the state of the live view. Bubble Tea's loop owns it: Update alone
// changes it, View only reads.
type top struct {
	ctx     context.Context
	client  *client.Client
	width   int
	height  int
	now     time.Time
	figures figures

	screen  screen
	stack   []place // where Esc goes back to
	key     string  // of the stream that detailScreen shows
	id      string  // of the session that sessionScreen shows
	sort    string
	match   string
	backend string
	typing  *string // the filter while it is being typed
	help    bool
	paused  bool

	cursor cursor
	view   sample // the last one that came whole
	speed  speed  // from the one before to view
	link   link
	asked  uint64 // number of the last question
	open   bool   // it has not been answered
}

// place is a screen and where its cursor stood.
type place struct {
	screen screen
	cursor cursor
}

func newTop(ctx context.Context, c *client.Client, o TopOptions) *top {
	t := &top{
		ctx: ctx, client: c, width: 80, height: 24, now: time.Now(), figures: figures{o.Exact},
		sort: o.Sort, match: o.Match, backend: o.Backend,
	}
	if t.sort == "" {
		t.sort = answer.SortBitrate
	}
	return t
}

// tick says that an interval is over.
type tick time.Time

func nextTick() tea.Cmd {
	return tea.Tick(interval, func(at time.Time) tea.Msg { return tick(at) })
}

// Init implements tea.Model.
func (t *top) Init() tea.Cmd { return tea.Batch(t.ask(), nextTick()) }

// Update implements tea.Model.
func (t *top) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch m := message.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = m.Width, m.Height
		return t, t.askIfShort()
	case tick:
		t.now = time.Time(m)
		if t.paused || t.open {
			return t, nextTick()
		}
		return t, tea.Batch(t.ask(), nextTick())
	case sample:
		t.take(m)
		return t, nil
	case tea.PasteMsg:
		if t.typing != nil {
			*t.typing += printableOnly(m.Content)
		}
		return t, nil
	case tea.KeyPressMsg:
		return t, t.press(m)
	}
	return t, nil
}

// View implements tea.Model.
func (t *top) View() tea.View {
	view := tea.NewView(t.draw())
	view.AltScreen = true
	view.WindowTitle = "srtrelay top " + t.client.API()
	return view
}

// take makes an answer what is shown. A late answer to an earlier question is
// not.
func (t *top) take(s sample) {
	if s.number != t.asked {
		return
	}
	t.open = false
	t.now = s.at
	if s.err != nil {
		t.link.failed(s.err, s.at)
		return
	}
	restarted := s.shards.Total.Packets < t.view.shards.Total.Packets
	t.link.answered(s.at, restarted)
	t.speed = speedOf(t.view, s)
	s.keep(t.view)
	t.view = s
	if t.screen == sessionScreen {
		t.scroll(0)
		return
	}
	t.cursor.follow(t.ids())
}
