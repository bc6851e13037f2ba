package relay

import (
	"slices"
	"testing"

	"srtrelay/config"
)

// A reload applies each setting that config says it applies, by one step, and no other.
func TestEveryReloadableSettingHasAStep(t *testing.T) {
	var applied []string
	for _, s := range reloadSteps {
		applied = append(applied, s.settings...)
	}
	var reloadable []string
	for _, s := range config.Settings() {
		if s.InPlace {
			reloadable = append(reloadable, s.Name)
		}
	}
	slices.Sort(applied)
	slices.Sort(reloadable)
	if !slices.Equal(applied, reloadable) {
		t.Errorf("steps apply    %q\nconfig promises %q", applied, reloadable)
	}
}
