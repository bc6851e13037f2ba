//go:build !race

// The parser of expressions would have to be compiled a second time for the
// race detector, to which these tests, one goroutine, show nothing.

package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"

	"srtrelay/internal/clocale"
)

// shown are the series of a relay: by name, the values of each label.
type shown map[string]map[string][]string

var (
	seriesLine = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `)
	seriesPair = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

func allShown(t *testing.T) shown {
	t.Helper()
	all := shown{"up": {}} // Prometheus's own
	for line := range strings.Lines(scrape(t, Handler(full(), discard))) {
		m := seriesLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if all[m[1]] == nil {
			all[m[1]] = map[string][]string{}
		}
		for _, pair := range seriesPair.FindAllStringSubmatch(m[2], -1) {
			all[m[1]][pair[1]] = append(all[m[1]][pair[1]], pair[2])
		}
	}
	return all
}

// wrong returns the part of an expression that no relay exports, "" for none.
func (s shown) wrong(expr string) string {
	e, err := metricsql.Parse(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
	if err != nil {
		return err.Error()
	}
	var why []string
	names := 0
	// What the scrape adds, and what the expression's metrics have.
	labels := []string{"job", "instance"}
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		m, ok := e.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		names++
		for _, filters := range m.LabelFilterss {
			name := filters[0].Value
			has, known := s[name]
			if filters[0].Label != "__name__" || !known {
				why = append(why, "no metric "+name)
				continue
			}
			for label := range has {
				labels = append(labels, label)
			}
			for _, f := range filters[1:] {
				if f.Label == "job" || f.Label == "instance" {
					continue
				}
				if values := has[f.Label]; f.IsRegexp || f.IsNegative || !slices.Contains(values, f.Value) {
					why = append(why, name+" never has "+f.Label+" "+f.Value)
				}
			}
		}
	})
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		if a, ok := e.(*metricsql.AggrFuncExpr); ok {
			for _, label := range a.Modifier.Args {
				if !slices.Contains(labels, label) {
					why = append(why, "no label "+label)
				}
			}
		}
	})
	if names == 0 {
		why = append(why, "asks for no metric")
	}
	return strings.Join(why, "; ")
}

// panel is what a dashboard shows: only what is looked at here.
type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat string }
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title      string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	all, ids, graphs := allShown(t), map[int]bool{}, 0
	for _, p := range board.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q: its ID is taken, or something is missing", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: wider than the board", p.Title)
		}
		if p.Type != "row" {
			if graphs++; len(p.Targets) == 0 {
				t.Errorf("%s shows nothing", p.Title)
			}
		}
		for _, target := range p.Targets {
			if why := all.wrong(target.Expr); why != "" {
				t.Errorf("%s: %s\n%s", p.Title, why, target.Expr)
			}
			for _, m := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(target.Expr, m[1]) && !hasLabel(all, target.Expr, m[1]) {
					t.Errorf("%s: legend %s names a label that is not there", p.Title, target.LegendFormat)
				}
			}
		}
	}
	if graphs < 20 {
		t.Errorf("only %d panels: the file is not read right", graphs)
	}
	for _, v := range board.Templating.List {
		if name := strings.TrimPrefix(v.Definition, "label_values("); name != v.Definition {
			if metric, _, _ := strings.Cut(name, ","); all[metric] == nil {
				t.Errorf("variable %s: no metric %s", v.Name, metric)
			}
		}
	}
}

// hasLabel reports whether the metrics of an expression have a label; of an
// aggregation only those it is by are left, and these stand in its text.
func hasLabel(all shown, expr, label string) bool {
	if strings.Contains(expr, " by (") || strings.HasPrefix(expr, "sum(") {
		return false
	}
	for name, labels := range all {
		if _, ok := labels[label]; ok && strings.Contains(expr, name) {
			return true
		}
	}
	return false
}

func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all, names := allShown(t), map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if names[r.Alert] || !strings.HasPrefix(r.Alert, "Srtrelay") {
				t.Errorf("alert %q: named twice, or not as ours", r.Alert)
			}
			names[r.Alert] = true
			if why := all.wrong(r.Expr); why != "" {
				t.Errorf("%s: %s\n%s", r.Alert, why, r.Expr)
			}
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s does not say what is wrong and what to do", r.Alert)
			}
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d alerts: the file is not read right", len(names))
	}
	promtool(t, text)
}

// promtool lets Prometheus's own tool look at the rules where there is one.
func promtool(t *testing.T, rules []byte) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		return // the parser above has looked at each expression
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := clocale.Command(tool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// The check itself must bite.
func TestWrongExpressionsAreFound(t *testing.T) {
	all := allShown(t)
	for expr, ok := range map[string]bool{
		`sum by (shard) (rate(srtrelay_sent_datagrams_total{instance=~"$instance"}[$__rate_interval]))`: true,
		`srtrelay_session_rtt_seconds_bucket{leg="caller",le="0.1"}`:                                    true,
		`up == 0`:                                      true,
		`srtrelay_sent_total`:                          false,
		`srtrelay_session_rtt_seconds`:                 false,
		`srtrelay_sent_datagrams_total{side="x"}`:      false,
		`srtrelay_session_loss_ratio_bucket{le="0.3"}`: false,
		`sum by (backend) (srtrelay_sessions)`:         false,
		`sum(rate(srtrelay_sessions[5m])`:              false,
		`1 > 0`:                                        false,
	} {
		if why := all.wrong(expr); (why == "") != ok {
			t.Errorf("%s: %q", expr, why)
		}
	}
}
