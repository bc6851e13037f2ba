package srtrelay_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"srtrelay/config"
)

// manifests are the plain Kubernetes manifests, by kind. scripts/chart decodes them as
// Kubernetes does; here they are held against the rest of the repository.
func manifests(t *testing.T, file string) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "deploy/kubernetes/"+file)))
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", file, err))
		}
		if kind, _ := document["kind"].(string); kind != "" {
			found[kind] = document
		}
	}
}

// at follows keys and indices into a document.
func at(t *testing.T, document any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			document = document.(map[string]any)[step]
		case int:
			document = document.([]any)[step]
		}
		if document == nil {
			t.Fatalf("no %v in %v", step, path)
		}
	}
	return document
}

// The manifests are made from the chart as it is, by make chart.
func TestManifestsAreMadeFromTheChart(t *testing.T) {
	h := sha256.New()
	for _, pattern := range []string{"*.yaml", "templates/*"} {
		files, err := filepath.Glob("deploy/kubernetes/chart/" + pattern)
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			text := read(t, name)
			fmt.Fprintf(h, "%s %d\n%s", filepath.Base(name), len(text), text)
		}
	}
	sum := fmt.Sprintf("SHA-256 of the chart: %x\n", h.Sum(nil))
	for _, file := range []string{"srtrelay.yaml", "monitoring.yaml"} {
		if !strings.Contains(read(t, "deploy/kubernetes/"+file), sum) {
			t.Errorf("deploy/kubernetes/%s is made from another chart: make chart", file)
		}
	}
}

// Versions, ports, settings and capabilities stand in several places, and are the same.
func TestManifestsAgree(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "CHANGELOG.md"), "\n## Unreleased\n")
	_, rest, _ = strings.Cut(rest, "\n## ")
	release, _, _ := strings.Cut(rest, "\n")
	var chart struct {
		Version    string
		AppVersion string `yaml:"appVersion"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/chart/Chart.yaml")), &chart); err != nil {
		t.Fatal(err)
	}
	if chart.Version != release || chart.AppVersion != "v"+release {
		t.Errorf("chart %s of %s, the newest release is %s", chart.Version, chart.AppVersion, release)
	}

	all := manifests(t, "srtrelay.yaml")
	pod := at(t, all["DaemonSet"], "spec", "template", "spec")
	container := at(t, pod, "containers", 0)
	if image := at(t, container, "image"); image != "srtrelay:"+chart.AppVersion {
		t.Errorf("image %v", image)
	}
	settings := at(t, all["ConfigMap"], "data", "relay.yaml").(string)
	loaded, err := config.Load([]string{"--config", "relay.yaml"}, func(name string) (string, bool) {
		token, set := map[string]string{"SRTRELAY_REGISTER_TOKEN": "correct-horse", "SRTRELAY_READ_TOKEN": "battery-staple"}[name]
		return token, set
	}, func(name string) ([]byte, error) {
		if name != "relay.yaml" {
			return nil, fs.ErrNotExist
		}
		return []byte(settings), nil
	})
	if err != nil {
		t.Fatalf("the relay refuses its settings: %v", err)
	}
	for _, path := range [][]any{
		{container, "readinessProbe", "httpGet", "port"},
		{container, "livenessProbe", "httpGet", "port"},
		{all["Service"], "spec", "ports", 0, "targetPort"},
	} {
		if port := at(t, path[0], path[1:]...); port != int(loaded.API.Port()) {
			t.Errorf("port %v in %v, the relay listens on %d", port, path[1:], loaded.API.Port())
		}
	}
	grace := time.Duration(at(t, pod, "terminationGracePeriodSeconds").(int)) * time.Second
	if grace <= loaded.DrainDelay+loaded.Grace || loaded.DrainDelay == 0 {
		t.Errorf("%v for a delay of %v and a grace of %v", grace, loaded.DrainDelay, loaded.Grace)
	}
	// Pods of one node meet in a folder that is mounted where the settings say.
	folder := at(t, container, "volumeMounts", 1, "mountPath").(string)
	for _, file := range []string{loaded.TakeOverSocket, loaded.SessionLedger} {
		if filepath.Dir(file) != folder {
			t.Errorf("%s is not in %s, which the next pod finds", file, folder)
		}
	}
	unit := read(t, "deploy/srtrelay.service")
	for _, name := range at(t, container, "securityContext", "capabilities", "add").([]any) {
		if !strings.Contains(unit, "CAP_"+name.(string)) {
			t.Errorf("capability %s, which the systemd unit does without", name)
		}
	}
}

// The PrometheusRule has the alerts of alerts.yaml.
func TestManifestsHaveTheAlerts(t *testing.T) {
	var want map[string]any
	if err := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "deploy/alerts.yaml")))).Decode(&want); err != nil {
		t.Fatal(err)
	}
	if got := at(t, manifests(t, "monitoring.yaml")["PrometheusRule"], "spec"); !reflect.DeepEqual(got, any(want)) {
		t.Error("deploy/kubernetes/monitoring.yaml has not the alerts of deploy/alerts.yaml: make chart")
	}
	if names := alertNames(t); !slices.Contains(names, "SrtrelayAway") {
		t.Errorf("alerts %v", names)
	}
}
