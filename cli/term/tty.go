package term

import (
	"os"

	"github.com/charmbracelet/x/term"
)

// Is reports whether a stream of this process, a reader or a writer, is a
// terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(file.Fd())
}
