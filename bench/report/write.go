package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes report.json, report.md and report.html to a directory.
func Write(d Document, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	text, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	html, err := HTML(d)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for name, content := range map[string][]byte{
		"report.json": append(text, '\n'),
		"report.md":   Markdown(d),
		"report.html": html,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
