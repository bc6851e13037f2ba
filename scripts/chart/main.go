// Command chart renders the Helm chart in deploy/kubernetes/chart to the plain manifests
// beside it, and packs it for a release.
//
// It is a module of its own, so that the relay's own module does not carry Helm and
// Kubernetes.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// release and namespace are those of the plain manifests.
const (
	release   = "srtrelay"
	namespace = "media"
)

// plain are the plain manifests: what the chart makes of these values, without the
// templates that stand in another of them.
var plain = []struct {
	file      string
	values    map[string]any
	templates []string
}{
	{"srtrelay.yaml", nil, []string{"config.yaml", "daemonset.yaml", "poddisruptionbudget.yaml", "service.yaml"}},
	{"monitoring.yaml", map[string]any{"monitoring": map[string]any{"enabled": true}}, []string{"monitoring.yaml"}},
}

func main() {
	folder := flag.String("folder", "../../deploy/kubernetes", "`FOLDER` of the chart and the manifests")
	pack := flag.String("pack", "", "pack the chart into this `FOLDER`, and write no manifests")
	flag.Parse()
	log.SetOutput(io.Discard) // Helm reports that it follows the link to alerts.yaml
	if err := run(*folder, *pack); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(folder, pack string) error {
	c, err := loader.LoadDir(filepath.Join(folder, "chart"))
	if err != nil {
		return fmt.Errorf("load the chart: %w", err)
	}
	if pack != "" {
		if _, err := chartutil.Save(c, pack); err != nil {
			return fmt.Errorf("pack the chart: %w", err)
		}
		return nil
	}
	for _, p := range plain {
		text, err := manifests(folder, c, p.values, p.templates)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, p.file), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write manifests: %w", err)
		}
	}
	return nil
}

// head says which chart the manifests are made from, for a test that does without Helm.
const head = "# Made from chart/ by make chart, and not to be edited; docs/kubernetes.md says how to\n# use it. SHA-256 of the chart: %x\n"

// digest returns a hash of all files of the chart except the alerts, which the manifests
// hold as they are.
func digest(folder string) ([]byte, error) {
	h := sha256.New()
	for _, pattern := range []string{"*.yaml", "templates/*"} {
		files, err := filepath.Glob(filepath.Join(folder, "chart", pattern)) // sorted
		if err != nil {
			return nil, fmt.Errorf("list the chart: %w", err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("read the chart: %w", err)
			}
			fmt.Fprintf(h, "%s %d\n%s", filepath.Base(name), len(text), text)
		}
	}
	return h.Sum(nil), nil
}

// manifests renders some templates into one file.
func manifests(folder string, c *chart.Chart, values map[string]any, templates []string) (string, error) {
	rendered, err := render(c, values)
	if err != nil {
		return "", err
	}
	sum, err := digest(folder)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, head, sum)
	for _, name := range templates {
		text, found := rendered[name]
		if !found {
			return "", fmt.Errorf("the chart has no template %s", name)
		}
		b.WriteString("---\n" + strings.TrimSpace(text) + "\n")
	}
	return b.String(), nil
}

// render returns what the chart's templates make of values, by file.
func render(c *chart.Chart, values map[string]any) (map[string]string, error) {
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValuesWithSchemaValidation(c, values, options, nil, false)
	if err != nil {
		return nil, fmt.Errorf("join values: %w", err)
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("render the chart: %w", err)
	}
	rendered := map[string]string{}
	for name, text := range files {
		rendered[filepath.Base(name)] = text
	}
	return rendered, nil
}
