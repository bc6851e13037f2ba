// Command dist writes the container image of a release: one layer on nothing,
// with the static binary and its notices, for a user without rights.
//
// It is a module of its own, with the tools that make packages, so that the
// relay's own module does not carry what only a release needs.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is nobody in particular: distroless images have the same number.
const user = "65532:65532"

// options are what the command line says.
type options struct {
	binary, sbom, license, arch, version, revision, out string
	created                                             time.Time
}

func main() {
	var o options
	var created int64
	flag.StringVar(&o.binary, "binary", "", "static `FILE` to run")
	flag.StringVar(&o.sbom, "sbom", "", "bill of materials, a `FILE`")
	flag.StringVar(&o.license, "license", "", "license, a `FILE`")
	flag.StringVar(&o.arch, "arch", "amd64", "`ARCH` of the binary")
	flag.StringVar(&o.version, "version", "", "`VERSION` for tag and label")
	flag.StringVar(&o.revision, "revision", "", "`COMMIT` for the label")
	flag.StringVar(&o.out, "out", "", "`FILE` to write, as docker load reads it")
	flag.Int64Var(&created, "created", 0, "time of the image, in `SECONDS` since 1970")
	flag.Parse()
	o.created = time.Unix(created, 0).UTC()
	if err := write(o); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// write makes the image and writes it.
func write(o options) error {
	if o.binary == "" || o.out == "" || o.version == "" {
		return errors.New("-binary, -version and -out are needed")
	}
	layer, err := layerOf(o)
	if err != nil {
		return err
	}
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "make dist"},
	})
	if err != nil {
		return fmt.Errorf("append layer: %w", err)
	}
	image, err = mutate.ConfigFile(image, config(o, image))
	if err != nil {
		return fmt.Errorf("set configuration: %w", err)
	}
	tag, err := name.NewTag("srtrelay:" + o.version)
	if err != nil {
		return fmt.Errorf("name image: %w", err)
	}
	if err := tarball.WriteToFile(o.out, tag, image); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// config is how the image runs, and what it says of itself.
func config(o options, image v1.Image) *v1.ConfigFile {
	c := &v1.ConfigFile{}
	if has, err := image.ConfigFile(); err == nil {
		c = has.DeepCopy()
	}
	c.OS, c.Architecture, c.Created = "linux", o.arch, v1.Time{Time: o.created}
	c.Config = v1.Config{
		User:         user,
		Entrypoint:   []string{"/srtrelay"},
		ExposedPorts: map[string]struct{}{"20080/udp": {}, "12025/tcp": {}},
		StopSignal:   "SIGTERM",
		Labels: map[string]string{
			"org.opencontainers.image.title":       "srtrelay",
			"org.opencontainers.image.description": "relays SRT callers to SRT servers",
			"org.opencontainers.image.version":     o.version,
			"org.opencontainers.image.revision":    o.revision,
			"org.opencontainers.image.licenses":    "MIT",
			"org.opencontainers.image.created":     o.created.Format(time.RFC3339),
		},
	}
	return c
}

// layerOf is the one layer.
func layerOf(o options) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name, from string
		mode       int64
	}{{"srtrelay", o.binary, 0o755}, {"LICENSE", o.license, 0o644}, {"sbom.cdx.json", o.sbom, 0o644}} {
		if f.from == "" {
			continue
		}
		text, err := os.ReadFile(f.from)
		if err != nil {
			return nil, fmt.Errorf("read what goes into the image: %w", err)
		}
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(text)), ModTime: o.created, Format: tar.FormatPAX}
		if err := errors.Join(w.WriteHeader(h), writeAll(w, text)); err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
