package answer

// Reload is the answer to POST /api/v1/reload: what the files have changed. Secrets are
// ***.
type Reload struct {
	// File is the configuration file, Rules the file of stream ID rules, "" for none.
	File  string `json:"file"`
	Rules string `json:"rules"`
	// Changes are the settings whose value in the file has changed, in the order of the
	// help.
	Changes []SettingChange `json:"changes"`
	// NeedUpgrade are the names of those that are not in force, because they need a new
	// process: srtrelay upgrade.
	NeedUpgrade []string `json:"need_upgrade"`
	// CookieSecrets is how many secrets the file of --cookie-secret-file has, which is read
	// with every reload; 0 without one.
	CookieSecrets int `json:"cookie_secrets"`
	// Warnings are new ones about settings that are probably mistakes.
	Warnings []string `json:"warnings"`
}

// SettingChange is a setting whose value in the file has changed.
type SettingChange struct {
	Setting string `json:"setting"`
	From    string `json:"from"`
	To      string `json:"to"`
	// Applied means that the value is in force. If it is not, Why may say why.
	Applied bool   `json:"applied"`
	Why     string `json:"why,omitempty"`
}
