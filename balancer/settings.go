package balancer

import "time"

// Settings are the fields of Memory that may change while it is in use.
type Settings struct {
	Policy        Policy
	Affinity      time.Duration
	PlayersCreate bool
	Outliers      bool
}

// Settings returns the settings in force.
func (m *Memory) Settings() Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Settings{m.Policy, m.Affinity, m.PlayersCreate, m.Outliers}
}

// Set puts other settings in force. Bindings stay, and expire by the new Affinity.
// Without Outliers no backend stays ejected.
func (m *Memory) Set(s Settings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Outliers && !s.Outliers {
		for _, r := range m.records {
			r.ejected, r.returning, r.passed = false, false, 0
		}
	}
	m.Policy, m.Affinity, m.PlayersCreate, m.Outliers = s.Policy, s.Affinity, s.PlayersCreate, s.Outliers
}
