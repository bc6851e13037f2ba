package main

import (
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

const folder = "../../deploy/kubernetes"

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // Helm reports that it follows the link to alerts.yaml
	os.Exit(m.Run())
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(filepath.Join(folder, "chart"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// variants are values that use every branch of the templates.
var variants = map[string]map[string]any{
	"defaults": nil,
	"everything": {
		"image": map[string]any{"repository": "registry.example/srtrelay", "tag": "v9"}, "pullSecrets": []any{map[string]any{"name": "pull"}},
		"config": map[string]any{
			"listen": []any{":20080", ":20081"}, "api": "[::]:1205", "state": "redis", "redis": "redis://redis.media:6379/0",
			"backend": []any{"srt://10.0.0.1:10080"},
		},
		"seLinuxOptions": map[string]any{"type": "spc_t"}, "runFolder": "/run/media",
		"secret": "tokens", "tlsSecret": "api-tls", "rulesConfigMap": "rules", "cookieSecret": "cookie", "clusterPort": 20081, "priorityClassName": "system-node-critical",
		"podAnnotations": map[string]any{"a": "b"}, "nodeSelector": map[string]any{"media": "true"},
		"tolerations": []any{map[string]any{"key": "media", "operator": "Exists"}},
		"affinity": map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{
			"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "edge", "operator": "Exists"}}}},
		}}},
		"monitoring": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
	},
	"no capabilities": {"capabilities": []any{}},
	"no folder":       {"runFolder": ""},
	"kept":            {"runFolder": "", "keep": true},
}

// decode reads manifests strictly: an unknown or doubled field is an error.
func decode(t *testing.T, text string) (objects []runtime.Object) {
	t.Helper()
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	if err := monitoring.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		if strings.Trim(document, "\n") == "" || !strings.Contains(document, "kind:") {
			continue
		}
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Errorf("%v\n%s", err, document)
			continue
		}
		objects = append(objects, object)
	}
	return objects
}

// decoded renders a variant and decodes all of it except the notes.
func decoded(t *testing.T, values map[string]any) (objects []runtime.Object) {
	t.Helper()
	rendered, err := render(load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range rendered {
		if strings.HasSuffix(name, ".yaml") {
			objects = append(objects, decode(t, text)...)
		}
	}
	return objects
}

// pick returns the one object of a type.
func pick[T any](t *testing.T, objects []runtime.Object) *T {
	t.Helper()
	for _, o := range objects {
		if found, ok := o.(any).(*T); ok {
			return found
		}
	}
	t.Fatalf("no %T", *new(T))
	return nil
}

// Pods that take over from each other must not keep sockets of a relay that is killed meanwhile.
func TestKeepExcludesTakeOver(t *testing.T) {
	if _, err := render(load(t), map[string]any{"keep": true}); err == nil || !strings.Contains(err.Error(), "keep needs runFolder") || !strings.Contains(err.Error(), "which may be another pod's") {
		t.Errorf("error %v", err)
	}
	set := pick[apps.DaemonSet](t, decoded(t, variants["kept"]))
	if args := set.Spec.Template.Spec.Containers[0].Args; len(args) != 3 || args[0] != "keep" {
		t.Errorf("arguments %q", args)
	}
}

func TestChartIsLinted(t *testing.T) {
	for name, values := range variants {
		result := lint.AllWithKubeVersion(filepath.Join(folder, "chart"), values, namespace, nil)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m.Error())
			}
		}
	}
}

// The API server would accept the manifests, and what they say fits together.
func TestManifestsAreStrict(t *testing.T) {
	for name, values := range variants {
		objects := decoded(t, values)
		set := pick[apps.DaemonSet](t, objects)
		budget, service := pick[policy.PodDisruptionBudget](t, objects), pick[core.Service](t, objects)
		pod := set.Spec.Template
		for what, selector := range map[string]map[string]string{
			"DaemonSet": set.Spec.Selector.MatchLabels, "PodDisruptionBudget": budget.Spec.Selector.MatchLabels, "Service": service.Spec.Selector,
		} {
			for key, value := range selector {
				if pod.Labels[key] != value {
					t.Errorf("%s: %s selects %s=%s, which no pod has", name, what, key, value)
				}
			}
		}
		for _, port := range service.Spec.Ports {
			if port.Protocol != core.ProtocolTCP {
				t.Errorf("%s: the Service stands in the data path: %+v", name, port)
			}
		}
		if budget.Spec.MaxUnavailable != nil || budget.Spec.MinAvailable == nil || budget.Spec.MinAvailable.IntValue() == 0 {
			t.Errorf("%s: %+v", name, budget.Spec)
		}
		checkPod(t, name, pod.Spec)
		checkTakeover(t, name, set)
		api := pod.Spec.Containers[0].ReadinessProbe.HTTPGet.Port
		if port := service.Spec.Ports[0]; port.TargetPort != api || int(port.Port) != api.IntValue() {
			t.Errorf("%s: the Service has %+v, the relay answers at %v", name, port, api)
		}
	}
}

// checkTakeover checks that two pods can be on a node at once, and meet in a folder of it,
// or that there never are two.
func checkTakeover(t *testing.T, name string, set *apps.DaemonSet) {
	t.Helper()
	pod := set.Spec.Template.Spec
	for _, c := range pod.Containers {
		if len(c.Ports) > 0 {
			t.Errorf("%s: ports %+v are hostPorts, which keep a second pod from the node", name, c.Ports)
		}
	}
	folder := ""
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			folder = v.HostPath.Path
			if v.Name != "run" || *v.HostPath.Type != core.HostPathDirectoryOrCreate {
				t.Errorf("%s: %+v", name, v)
			}
		}
	}
	surge, unavailable := set.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntValue(), set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntValue()
	wantFolder := map[string]string{"defaults": "/run/srtrelay/media-srtrelay", "everything": "/run/media/media-srtrelay"}[name]
	wantSurge, wantUnavailable := 1, 0
	if wantFolder == "" {
		wantSurge, wantUnavailable = 0, 1
	}
	if folder != wantFolder || surge != wantSurge || unavailable != wantUnavailable {
		t.Errorf("%s: folder %q, surge %d, unavailable %d", name, folder, surge, unavailable)
	}
}

func checkPod(t *testing.T, name string, pod core.PodSpec) {
	t.Helper()
	c := pod.Containers[0]
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("%s: mount of %s, of which there is no volume", name, m.Name)
		}
	}
	if len(volumes) != len(c.VolumeMounts) {
		t.Errorf("%s: volumes %v, mounts %v", name, volumes, c.VolumeMounts)
	}
	if !pod.HostNetwork || pod.DNSPolicy != core.DNSClusterFirstWithHostNet || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: %+v", name, pod)
	}
	s := c.SecurityContext
	if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("%s: %+v", name, s)
	}
	// Added capabilities have no effect for another user than root.
	if root := *pod.SecurityContext.RunAsUser == 0; root != (len(s.Capabilities.Add) > 0) {
		t.Errorf("%s: user %d with %v", name, *pod.SecurityContext.RunAsUser, s.Capabilities.Add)
	}
	secure := slices.ContainsFunc(c.Env, func(v core.EnvVar) bool { return v.Name == "SRTRELAY_API_TLS_CERT" })
	for what, probe := range map[string]*core.Probe{"/live": c.LivenessProbe, "/ready": c.ReadinessProbe} {
		if get := probe.HTTPGet; get.Path != what || get.Port.IntValue() < 1000 || (get.Scheme == core.URISchemeHTTPS) != secure {
			t.Errorf("%s: %+v", name, get)
		}
	}
}

// Each relay takes other relays' datagrams at the address of its node, and has the secret
// that all share.
func TestRelaysBehindOneAddress(t *testing.T) {
	c := pick[apps.DaemonSet](t, decoded(t, variants["everything"])).Spec.Template.Spec.Containers[0]
	got, address := map[string]string{}, ""
	for _, v := range c.Env {
		if got[v.Name] = v.Value; v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
			address = v.Name + " is " + v.ValueFrom.FieldRef.FieldPath
		}
	}
	if at := got["SRTRELAY_CLUSTER_LISTEN"]; at != "[$(NODE_ADDRESS)]:20081" || address != "NODE_ADDRESS is status.hostIP" {
		t.Errorf("%q, %s", at, address)
	}
	folder, name := filepath.Split(got["SRTRELAY_COOKIE_SECRET_FILE"])
	mounted := slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "cookie" && m.MountPath+"/" == folder })
	if !mounted || name != "cookie-secret" {
		t.Errorf("%s%s: %+v", folder, name, c.VolumeMounts)
	}
}

func TestMonitoring(t *testing.T) {
	for _, o := range decoded(t, nil) {
		if strings.HasPrefix(o.GetObjectKind().GroupVersionKind().Group, "monitoring") {
			t.Errorf("%T by default, which takes an operator", o)
		}
	}
	objects := decoded(t, variants["everything"])
	monitor, rule := pick[monitoring.ServiceMonitor](t, objects), pick[monitoring.PrometheusRule](t, objects)
	service := pick[core.Service](t, objects)
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[key] != value {
			t.Errorf("the ServiceMonitor selects %s=%s, which the Service has not", key, value)
		}
	}
	if job := service.Labels[monitor.Spec.JobLabel]; job != "srtrelay" {
		t.Errorf("job %q, the alerts look for srtrelay", job)
	}
	if e := monitor.Spec.Endpoints[0]; e.Port != service.Spec.Ports[0].Name || e.Authorization.Credentials.Key != "read-token" {
		t.Errorf("%+v", e)
	}
	text, err := os.ReadFile("../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Count(string(text), "- alert: "), 0
	for _, g := range rule.Spec.Groups {
		got += len(g.Rules)
	}
	if got != want || want == 0 {
		t.Errorf("%d alerts, alerts.yaml has %d", got, want)
	}
}

// The plain manifests are what the chart says.
func TestManifestsAreUpToDate(t *testing.T) {
	c := load(t)
	for _, p := range plain {
		want, err := manifests(folder, c, p.values, p.templates)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(folder, p.file))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the chart says: make chart", p.file)
		}
		if objects := decode(t, string(got)); len(objects) < 2 {
			t.Errorf("%s: %d objects", p.file, len(objects))
		}
	}
}
