package srtrelay_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/config"
)

// numbers is the list of the numbers in the docs; its head says how it is read.
const numbers = "docs/numbers.txt"

// number is the value of an expression of constants.
type number struct {
	value    constant.Value
	duration bool
}

// constants are the product's, by package and name.
type constants map[string]map[string]ast.Expr

// productConstants collects the constants that have an expression of their own.
func productConstants(t *testing.T) constants {
	t.Helper()
	all := constants{}
	for _, s := range product(t) {
		if bytes.HasPrefix(s.text, []byte("//go:build !linux")) {
			continue
		}
		name := s.ast.Name.Name
		if all[name] == nil {
			all[name] = map[string]ast.Expr{}
		}
		for _, decl := range s.ast.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				v := spec.(*ast.ValueSpec)
				for i, e := range v.Values {
					all[name][v.Names[i].Name] = e
				}
			}
		}
	}
	return all
}

// eval computes an expression of a package.
func (all constants) eval(in string, e ast.Expr) (n number, err error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return number{value: constant.MakeFromLiteral(e.Value, e.Kind, 0)}, nil
	case *ast.ParenExpr:
		return all.eval(in, e.X)
	case *ast.CallExpr: // a conversion
		if len(e.Args) != 1 {
			return n, fmt.Errorf("a call of %d arguments", len(e.Args))
		}
		return all.eval(in, e.Args[0])
	case *ast.Ident:
		return all.lookUp(in, e.Name)
	case *ast.SelectorExpr:
		from, ok := e.X.(*ast.Ident)
		if !ok {
			return n, fmt.Errorf("%T before .%s", e.X, e.Sel.Name)
		}
		return all.lookUp(from.Name, e.Sel.Name)
	case *ast.BinaryExpr:
		return all.binary(in, e)
	}
	return n, fmt.Errorf("%T is no constant", e)
}

func (all constants) binary(in string, e *ast.BinaryExpr) (n number, err error) {
	x, err := all.eval(in, e.X)
	if err != nil {
		return n, err
	}
	y, err := all.eval(in, e.Y)
	if err != nil {
		return n, err
	}
	n.duration = x.duration || y.duration
	switch whole := x.value.Kind() == constant.Int && y.value.Kind() == constant.Int; {
	case e.Op == token.SHL || e.Op == token.SHR:
		by, _ := constant.Uint64Val(y.value)
		n.value = constant.Shift(x.value, e.Op, uint(by))
	case e.Op == token.QUO && whole:
		n.value = constant.BinaryOp(x.value, token.QUO_ASSIGN, y.value)
	default:
		n.value = constant.BinaryOp(x.value, e.Op, y.value)
	}
	return n, nil
}

// lookUp returns a constant of a package of the product, of time or of math.
func (all constants) lookUp(from, name string) (n number, err error) {
	durations := map[string]time.Duration{
		"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
		"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
	}
	if d, ok := durations[name]; ok && from == "time" {
		return number{constant.MakeInt64(int64(d)), true}, nil
	}
	most := map[string]int64{"MaxUint8": math.MaxUint8, "MaxUint16": math.MaxUint16, "MaxInt32": math.MaxInt32}
	if v, ok := most[name]; ok && from == "math" {
		return number{value: constant.MakeInt64(v)}, nil
	}
	e, ok := all[from][name]
	if !ok {
		return n, fmt.Errorf("no constant %s.%s", from, name)
	}
	return all.eval(from, e)
}

// text writes a number as the docs do.
func (n number) text(unit string) (string, error) {
	v, exact := constant.Int64Val(constant.ToInt(n.value))
	if !exact {
		return "", fmt.Errorf("%v is no whole number", n.value)
	}
	size := map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
	switch {
	case size > 0 && v%size == 0:
		return group(v/size) + " " + unit, nil
	case unit == "plain":
		return strconv.FormatInt(v, 10), nil
	case unit == "ms" && n.duration:
		return group(v / int64(time.Millisecond)), nil
	case unit != "":
		return "", fmt.Errorf("%d is no whole number of %s", v, unit)
	case n.duration:
		return durationText(time.Duration(v)), nil
	}
	return group(v), nil
}

// group puts a comma before every three digits.
func group(v int64) string {
	digits := strconv.FormatInt(v, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// durationText uses the largest unit that needs one decimal at most.
func durationText(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d >= u.size && d*10%u.size == 0 {
			return strconv.FormatFloat(float64(d)/float64(u.size), 'f', -1, 64) + " " + u.name
		}
	}
	return d.String()
}

var (
	// comment is what begins a line of a comment in a script or a Go file.
	comment = regexp.MustCompile(`(?m)^\s*//`)
	braces  = regexp.MustCompile(`\{([^}]*)\}`)
	// named is what has digits and is no number: code, a link, a prefix length, a
	// version of IP.
	named = regexp.MustCompile("`[^`]*`|\\[[^]]*\\]\\([^)]*\\)|/64|IPv6")
)

// expand replaces the expressions of a line. tests are the names of all tests.
func (all constants) expand(line string, tests []string) (text string, err error) {
	text = braces.ReplaceAllStringFunc(line, func(found string) string {
		found = found[1 : len(found)-1]
		if value, test, ok := strings.Cut(found, " by "); ok {
			if !slices.Contains(tests, test) {
				err = fmt.Errorf("no test %s", test)
			}
			return value
		}
		if name, ok := strings.CutPrefix(found, "--"); ok {
			value, failed := settingDefault(strings.CutSuffix(name, "|raw"))
			err = cmp.Or(err, failed)
			return value
		}
		source, unit, _ := strings.Cut(found, "|")
		e, failed := parser.ParseExpr(source)
		if failed != nil {
			err = failed
			return ""
		}
		n, failed := all.eval("", e)
		if failed == nil {
			found, failed = n.text(unit)
		}
		if failed != nil {
			err = fmt.Errorf("%s: %w", source, failed)
		}
		return found
	})
	return text, err
}

// settingDefault is the default of a flag.
func settingDefault(name string, raw bool) (string, error) {
	for _, s := range config.Settings() {
		if s.Name != name {
			continue
		}
		if d, err := time.ParseDuration(s.Default); err == nil && d > 0 && !raw {
			return durationText(d), nil
		}
		return s.Default, nil
	}
	return "", fmt.Errorf("no flag --%s", name)
}

// testNames are the functions of all test files.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

// The numbers in the docs are those of the constants. A page that says otherwise
// misleads whoever sizes a machine or looks for a limit.
func TestNumbers(t *testing.T) {
	all, tests := productConstants(t), testNames(t)
	page, text := "", ""
	var bounds []string
	for line := range strings.Lines(read(t, numbers)) {
		line = strings.TrimSpace(line)
		switch name, found := strings.CutPrefix(line, "== "); {
		case line == "" || strings.HasPrefix(line, "# "):
			continue
		case found:
			page, text = name, strings.Join(strings.Fields(comment.ReplaceAllString(read(t, name), "")), " ")
			continue
		}
		if rest := named.ReplaceAllString(braces.ReplaceAllString(line, ""), ""); strings.ContainsAny(rest, "0123456789") {
			t.Errorf("%s: no constant stands for a number of %q", numbers, line)
		}
		expanded, err := all.expand(line, tests)
		if err != nil {
			t.Errorf("%s: %q: %v", numbers, line, err)
			continue
		}
		bounds = append(bounds, expanded)
		if !strings.Contains(text, expanded) {
			t.Errorf("%s has not, by its constants: %s", page, expanded)
		}
	}
	checkBounds(t, bounds)
}

// checkBounds finds rows of the table of bounds whose numbers nothing checks.
func checkBounds(t *testing.T, held []string) {
	t.Helper()
	const page = "docs/architecture.md"
	_, table, _ := strings.Cut(read(t, page), "\n## Bounds\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for row := range strings.Lines(table) {
		row = strings.TrimSpace(row)
		if !strings.HasPrefix(row, "|") {
			continue
		}
		rows++
		if strings.ContainsAny(named.ReplaceAllString(row, ""), "0123456789") && !slices.Contains(held, row) {
			t.Errorf("%s: add to %s which constants the numbers are of: %s", page, numbers, row)
		}
	}
	if rows < 10 {
		t.Errorf("%s: %d rows of bounds", page, rows)
	}
}

// The table of where to find things names files and functions that exist.
func TestWhereToFind(t *testing.T) {
	functions := map[string][]string{}
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				functions[s.file] = append(functions[s.file], f.Name.Name)
			}
		}
	}
	_, table, _ := strings.Cut(read(t, "docs/architecture.md"), "\n## Where to find\n")
	table, _, _ = strings.Cut(table, "\n## ")
	code := regexp.MustCompile("`([^`]*)`")
	rows := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 || !strings.Contains(cells[2], "`") {
			continue
		}
		rows++
		var there []string
		for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
			if functions[m[1]] == nil {
				t.Errorf("no file %s", m[1])
			}
			there = append(there, functions[m[1]]...)
		}
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			if !slices.Contains(there, m[1]) {
				t.Errorf("no function %s in%s", m[1], cells[2])
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d rows", rows)
	}
}

// Pages name files that exist.
func TestDocsNameFilesThatExist(t *testing.T) {
	file := regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)*/[a-z0-9_.-]+\\.(?:go|sh|js|md|yaml|json|txt))`")
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	adrs, err := filepath.Glob("docs/adr/*.md")
	if err != nil || len(adrs) == 0 {
		t.Fatalf("%d decisions, %v", len(adrs), err)
	}
	named := 0
	for _, page := range append(append(pages, adrs...), "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		for _, m := range file.FindAllStringSubmatch(read(t, page), -1) {
			if strings.HasPrefix(m[1], "bench/out/") {
				continue // what a run writes
			}
			named++
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
	if named < 10 {
		t.Errorf("%d files named", named)
	}
}
