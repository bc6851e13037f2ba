package term

import "charm.land/lipgloss/v2"

// Styles of the live view. They use the terminal's own sixteen colours, which
// its owner has chosen to be readable; without colours what matters is still
// told by words, bold and reverse.
var (
	bold     = lipgloss.NewStyle().Bold(true)
	faint    = lipgloss.NewStyle().Faint(true)
	titles   = lipgloss.NewStyle().Bold(true).Underline(true)
	selected = lipgloss.NewStyle().Reverse(true)
	good     = lipgloss.NewStyle().Foreground(lipgloss.Green)
	alarms   = map[alarm]lipgloss.Style{
		calm:     lipgloss.NewStyle(),
		warning:  lipgloss.NewStyle().Foreground(lipgloss.Yellow),
		alarming: lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	}
)
