// Package srtrelay_test checks the rules of the repository: on which floor a package is,
// what it may import, what must be documented, and that the docs are true.
// docs/architecture.md explains them.
package srtrelay_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "srtrelay"

// floors has every package of the product. A package imports packages of lower floors
// only.
var floors = map[string]int{
	"internal/supervise": -1, "internal/message": -1, "internal/bitrate": -1, "internal/tokenbucket": -1, "internal/throttle": -1, "internal/chunks": -1, // for all others
	"wire": 0, "addr": 0, "pool": 0, "backend": 0, "config": 0, "streamid/rules": 0,
	"api/answer": 0, "api/web": 0, "internal/asynclog": 0, "relay/notify": 0, "relay/keep": 0,
	"handshake": 1, "udp": 1, "shard/ledger": 1, "shard/checkpoint": 1, "shard/shield": 1, "shard/limit": 1, "shard/owners": 1, "shard/letterbox": 1, "balancer": 1, "observe/telemetry": 1, "observe/cluster": 1, "observe/capture": 1, "observe/eventlog": 1, "cli/client": 1, "relay/takeover": 1, "relay/overload": 1,
	"streamid": 2, "shard/kernelpath": 2, "shard/migration": 2, "shard/relays": 2, "backend/probe": 2, "balancer/redis": 2, "cli/term": 2, "observe/capture/pcapng": 2,
	"shard":           3,
	"observe/streams": 4,
	"api":             5, "observe/metrics": 5,
	"relay": 6, "cli": 6,
	"cmd/srtrelay": 7,
}

// tools are tests and tools. They may import anything; nothing of the product
// imports them, except its tests.
var tools = []string{"internal/clocale", "internal/fences", "internal/dnstest", "internal/freeaddr", "internal/golden", "internal/need", "internal/openapi", "internal/srsfake", "internal/srttest", "internal/testcert", "e2e", "bench", "scripts"}

// owners are the packages that may import something, by prefix; two have a space between.
var owners = map[string]string{
	"unsafe":                            "udp shard/kernelpath",
	"golang.org/x/sys/":                 "udp shard/kernelpath relay/takeover relay/keep",
	"github.com/cilium/ebpf":            "shard/kernelpath",
	"github.com/vishvananda/netlink":    "shard/kernelpath",
	"github.com/libp2p/go-reuseport":    "udp",
	"github.com/redis/":                 "balancer/redis",
	"github.com/spf13/pflag":            "config cli",
	"github.com/spf13/cobra":            "cli",
	"charm.land/":                       "cli/term",
	"go.yaml.in/":                       "config streamid/rules",
	"github.com/prometheus/":            "observe/metrics",
	"github.com/valyala/bytebufferpool": "pool",
	"github.com/gopacket/":              "observe/capture/pcapng",
}

// vague are package names that say nothing, and so collect everything.
var vague = []string{
	"helper", "helpers", "util", "utils", "common", "manager", "core", "types", "base", "data", "info", "process", "misc", "shared",
}

// maxLines is the most lines of a file of the product. The aim is 300.
const maxLines = 400

// source is one parsed Go file.
type source struct {
	file string // slash path from the root
	dir  string // its package, "." for the root
	test bool
	text []byte
	ast  *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// The go command ignores these.
			hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")
			if name != "." && (hidden || d.Name() == "testdata" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		slashed := filepath.ToSlash(name)
		all = append(all, source{slashed, path.Dir(slashed), strings.HasSuffix(name, "_test.go"), text, parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found: the test runs in the wrong place", len(all))
	}
	return all
}

// product returns the files of all packages on a floor, without tests.
func product(t *testing.T) []source {
	t.Helper()
	return slices.DeleteFunc(sources(t), func(s source) bool {
		_, placed := floors[s.dir]
		return s.test || !placed
	})
}

func isTool(dir string) bool {
	return slices.ContainsFunc(tools, func(tool string) bool { return dir == tool || strings.HasPrefix(dir, tool+"/") })
}

func imports(s source) []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// wrongImport says why a file of dir must not import p, or "".
func wrongImport(dir, p string) string {
	for prefix, owner := range owners {
		if strings.HasPrefix(p, prefix) && !slices.Contains(strings.Fields(owner), dir) {
			return "only " + strings.ReplaceAll(owner, " ", " or ") + " may do that"
		}
	}
	to, ours := strings.CutPrefix(p, module+"/")
	switch floor, placed := floors[to]; {
	case !ours:
		return ""
	case isTool(to):
		return "it is for tests and tools only"
	case !placed:
		return "it is on no floor"
	case floor == floors[dir]:
		return "both are on floor " + strconv.Itoa(floor) + ", whose packages do not import each other"
	case floor > floors[dir]:
		return "imports point down only, from floor " + strconv.Itoa(floors[dir]) + " not up to " + strconv.Itoa(floor)
	}
	return ""
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range product(t) {
		for _, p := range imports(s) {
			if why := wrongImport(s.dir, p); why != "" {
				t.Errorf("%s imports %s: %s", s.file, p, why)
			}
		}
	}
}

// The rules must find mistakes: a rule that never fails looks like one that holds.
func TestWrongImportsAreFound(t *testing.T) {
	for _, c := range []struct {
		dir, imports string
		wrong        bool
	}{
		{"handshake", "srtrelay/wire", false},
		{"wire", "srtrelay/addr", true},
		{"udp", "srtrelay/handshake", true},
		{"backend", "srtrelay/shard", true},
		{"observe/metrics", "srtrelay/api", true},
		{"relay", "srtrelay/shard", false},
		{"cli", "srtrelay/relay", true},
		{"shard", "srtrelay/internal/srttest", true},
		{"shard", "srtrelay/scripts/lab", true},
		{"shard", "srtrelay/attic", true},
		{"shard", "unsafe", true},
		{"udp", "unsafe", false},
		{"shard", "golang.org/x/sys/unix", true},
		{"udp", "golang.org/x/sys/unix", false},
		{"streamid/rules", "go.yaml.in/yaml/v3", false},
		{"handshake", "go.yaml.in/yaml/v3", true},
		{"balancer", "github.com/redis/go-redis/v9", true},
		{"balancer/redis", "github.com/redis/go-redis/v9", false},
		{"shard", "golang.org/x/sync/errgroup", false},
	} {
		if why := wrongImport(c.dir, c.imports); (why != "") != c.wrong {
			t.Errorf("%s imports %s: found %q", c.dir, c.imports, why)
		}
	}
}

func TestEveryPackageHasItsPlace(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if seen[s.dir] {
			continue
		}
		seen[s.dir] = true
		_, placed := floors[s.dir]
		if !placed && !isTool(s.dir) && s.dir != "." {
			t.Errorf("package %s is new: place it on a floor in house_test.go and docs/architecture.md", s.dir)
		}
		if s.dir == "." && !s.test {
			t.Errorf("%s: the root holds no code, only this test", s.file)
		}
		for part := range strings.SplitSeq(s.dir+"/"+s.ast.Name.Name, "/") {
			if slices.Contains(vague, strings.TrimSuffix(part, "_test")) {
				t.Errorf("%s: %q says nothing, name the package for what it does", s.dir, part)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		has := s.ast.Doc != nil && len(s.ast.Doc.Text()) > 0
		documented[s.dir] = documented[s.dir] || has
	}
	for dir, has := range documented {
		if !has {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func TestFilesEnd(t *testing.T) {
	for _, s := range product(t) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines: would two files be easier to live in?", s.file, n)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		// The file for Linux has the documentation.
		if s.test || bytes.HasPrefix(s.text, []byte("//go:build !linux")) {
			continue
		}
		for _, name := range undocumented(s.ast) {
			t.Errorf("%s: %s has no doc comment", s.file, name)
		}
	}
}

// undocumented names the exported functions, types and methods of exported
// types that have no doc comment. String and Error are excused: fmt and the
// error interface say what they are for.
func undocumented(f *ast.File) []string {
	var names []string
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			method := d.Recv != nil
			if method && (!ast.IsExported(receiver(d)) || slices.Contains([]string{"String", "Error"}, d.Name.Name)) {
				continue
			}
			if d.Doc == nil && d.Name.IsExported() {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && ts.Doc == nil && d.Doc == nil {
					names = append(names, ts.Name.Name)
				}
			}
		}
	}
	return names
}

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// A doc comment that begins with a name begins with that of what it documents:
// whoever renames a function must not forget its comment.
func TestDocCommentsNameWhatTheyDocument(t *testing.T) {
	check := func(s source, doc *ast.CommentGroup, names ...string) {
		first, _, _ := strings.Cut(doc.Text(), " ")
		first = strings.TrimRight(first, ":,.;'s\n")
		if first == "" || first[0] < 'a' || first[0] > 'z' {
			return // a sentence
		}
		named := func(name string) bool { return strings.TrimRight(name, "s") == first }
		if !slices.ContainsFunc(names, named) {
			t.Errorf("%s: the comment on %s begins with %q", s.file, strings.Join(names, ", "), first)
		}
	}
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if !strings.HasPrefix(d.Name.Name, "Test") {
					check(s, d.Doc, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					var names []string
					switch v := spec.(type) {
					case *ast.TypeSpec:
						names = append(names, v.Name.Name)
						check(s, v.Doc, names...)
					case *ast.ValueSpec:
						for _, n := range v.Names {
							names = append(names, n.Name)
						}
						check(s, v.Doc, names...)
					}
					if len(d.Specs) == 1 && len(names) > 0 {
						check(s, d.Doc, names...)
					}
				}
			}
		}
	}
}

// The table of packages has every package on its floor.
func TestTableOfPackages(t *testing.T) {
	text := read(t, "docs/architecture.md")
	for dir, floor := range floors {
		if row := fmt.Sprintf("\n| %d | `%s` | ", floor, dir); !strings.Contains(text, row) {
			t.Errorf("docs/architecture.md has no row %q", row)
		}
	}
	_, last, _ := strings.Cut(text, "\n| - | ")
	last, _, _ = strings.Cut(last, "\n")
	for _, tool := range tools {
		if !strings.Contains(last, "`"+tool+"`") {
			t.Errorf("docs/architecture.md does not name the tool %s", tool)
		}
	}
}
