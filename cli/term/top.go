package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

// interval is the time between queries. The relay computes its rates once a second, so more
// frequent queries would show the same.
const interval = time.Second

// TopOptions are the options of srtrelay top.
type TopOptions struct {
	Sort    string // see answer.SortBitrate and the others
	Match   string // only streams whose key contains it
	Backend string // only streams on this backend
	Exact   bool
	In      io.Reader
	Out     io.Writer
	Env     []string
}

// Top runs the live view until the user quits or ctx ends.
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

// IsTerminal reports whether a stream of this process, a reader or a writer, is a
// terminal.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(file.Fd())
}

// plainWidth is the width of output that goes to no terminal.
const plainWidth = 80

// Width returns the width of the terminal that a stream is, plainWidth if it is none.
func Width(stream any) int {
	if file, ok := stream.(*os.File); ok {
		if width, _, err := term.GetSize(file.Fd()); err == nil && width > 0 {
			return width
		}
	}
	return plainWidth
}

// Colors reports whether a stream shows colours: a terminal does, unless the variables (NO_COLOR,
// TERM) say that it must not or cannot.
func Colors(stream io.Writer, env []string) bool {
	return colorprofile.Detect(stream, env) >= colorprofile.ANSI
}

// screen is the content of the lower part.
type screen int

const (
	streamScreen  screen = iota // all streams
	detailScreen                // one stream and its sessions
	sessionScreen               // one session in full
)

// top is the state of the live view. It belongs to Bubble Tea's loop: only Update changes it.
type top struct {
	ctx     context.Context
	client  *client.Client
	width   int
	height  int
	now     time.Time
	figures figures

	screen  screen
	stack   []savedScreen // where Esc goes back to
	key     string        // of the stream that detailScreen shows
	id      string        // of the session that sessionScreen shows
	sort    string
	match   string
	backend string
	typing  *string // the filter while it is being typed
	help    bool
	paused  bool

	cursor     cursor
	view       sample // the last one without an error
	speed      speed  // from the one before to view
	connection connection
	asked      uint64 // number of the last query
	open       bool   // the last query has no answer yet
}

// savedScreen is a screen with its cursor.
type savedScreen struct {
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

// tick is the message at the end of an interval.
type tick time.Time

func nextTick() tea.Cmd {
	return tea.Tick(interval, func(at time.Time) tea.Msg { return tick(at) })
}

// Init implements tea.Model.
func (t *top) Init() tea.Cmd { return tea.Batch(t.query(), nextTick()) }

// Update implements tea.Model.
func (t *top) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch m := message.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = m.Width, m.Height
		return t, t.queryIfShort()
	case tick:
		t.now = time.Time(m)
		if t.paused || t.open {
			return t, nextTick()
		}
		return t, tea.Batch(t.query(), nextTick())
	case sample:
		t.accept(m)
		return t, nil
	case tea.PasteMsg:
		if t.typing != nil {
			*t.typing += printableOnly(m.Content)
		}
		return t, nil
	case tea.KeyPressMsg:
		return t, t.handleKey(m)
	}
	return t, nil
}

// View implements tea.Model.
func (t *top) View() tea.View {
	view := tea.NewView(t.render())
	view.AltScreen = true
	view.WindowTitle = "srtrelay top " + t.client.API()
	return view
}

// accept shows a sample, unless it is the late answer to an earlier query.
func (t *top) accept(s sample) {
	if s.number != t.asked {
		return
	}
	t.open = false
	t.now = s.at
	if s.err != nil {
		t.connection.failed(s.err, s.at)
		return
	}
	restarted := s.shards.Total.Packets < t.view.shards.Total.Packets
	t.connection.answered(s.at, restarted)
	t.speed = speedOf(t.view, s)
	s.carryOver(t.view)
	t.view = s
	if t.screen == sessionScreen {
		t.scroll(0)
		return
	}
	t.cursor.follow(t.ids())
}
