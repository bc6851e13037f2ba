package srtrelay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"testing"
)

// unsupervised are the places that may start a goroutine which no Supervisor
// watches over, and why. Besides them it is supervise itself.
var unsupervised = map[string]string{
	"internal/supervise":                      "starts them for all others",
	"internal/asynclog":                       "the Supervisor's own log; it recovers what its writer does",
	"shard/group.go":                          "the shards: what one forwards after a panic nobody can vouch for; the background is protected",
	"cli/api.go":                              "a command's, in a process of its own",
	"cli/upgrade.go":                          "a command's, in a process of its own",
	"relay/keep":                              "wait for a socket and for other processes, in a process of its own",
	"backend/probe/ask.go AfterFunc":          "sets a deadline",
	"relay/takeover/conn_linux.go AfterFunc":  "sets a deadline",
	"relay/takeover/giver_linux.go AfterFunc": "sets a deadline",
	"relay/takeover/launch.go AfterFunc":      "sets a deadline, and kills a process",
	"api/limits.go AfterFunc":                 "cancels a context",
	"cli/client/events.go AfterFunc":          "a command's, in a process of its own",
}

// starters are the calls that start a goroutine, by name and number of
// arguments: sync.WaitGroup's Go (supervise's has a name as well), errgroup's
// and time's and context's AfterFunc.
var starters = map[string]int{"Go": 1, "TryGo": 1, "AfterFunc": 2}

// goroutines names what of a file starts a goroutine.
func goroutines(f *ast.File) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, "go")
		case *ast.CallExpr:
			if call, ok := n.Fun.(*ast.SelectorExpr); ok && starters[call.Sel.Name] == len(n.Args) && len(n.Args) > 0 {
				found = append(found, call.Sel.Name)
			}
		}
		return true
	})
	return found
}

// A panic in a goroutine ends the process and with it all streams, unless the
// supervisor runs it.
func TestGoroutinesAreSupervised(t *testing.T) {
	idle := maps.Clone(unsupervised)
	for _, s := range product(t) {
		for _, how := range goroutines(s.ast) {
			may := false
			for _, place := range []string{s.dir, s.file, s.file + " " + how} {
				if _, listed := unsupervised[place]; listed {
					may = true
					delete(idle, place)
				}
			}
			if !may {
				t.Errorf("%s starts a goroutine with %s: start it by supervise.Tasks, so that its panic ends no stream", s.file, how)
			}
		}
	}
	for place := range idle {
		t.Errorf("%s starts no goroutine: take it off the list", place)
	}
}

func TestGoroutinesAreFound(t *testing.T) {
	for body, want := range map[string]int{
		"go f()": 1, "wg.Go(f)": 1, "g.TryGo(f)": 1, "time.AfterFunc(d, f)": 1, "defer context.AfterFunc(ctx, f)()": 1,
		`tasks.Go("name", f)`: 0, `tasks.Loop(ctx, "name", f)`: 0, "f()": 0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc _() { "+body+" }", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := goroutines(f); len(got) != want {
			t.Errorf("%s: found %v", body, got)
		}
	}
}
