package web

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"srtrelay/internal/need"
)

// patience bounds every wait for an event; it measures nothing.
const patience = 30 * time.Second

// pictures is where screenshots are kept; git ignores it.
var pictures = filepath.Join("..", "..", ".test", "web")

// browser is one Chromium for all tests of the package; each has its own tab.
var browser struct {
	once   sync.Once
	ctx    context.Context
	err    error
	cancel []context.CancelFunc
}

func TestMain(m *testing.M) {
	code := m.Run()
	if browser.ctx != nil {
		ctx, cancel := context.WithTimeout(browser.ctx, patience)
		_ = chromedp.Cancel(ctx)
		cancel()
	}
	for _, cancel := range browser.cancel {
		cancel()
	}
	os.Exit(code)
}

func startBrowser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a browser; not in short tests")
	}
	path := need.Browser(t)
	browser.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(1440, 900))
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
		}
		allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, end := chromedp.NewContext(allocator)
		browser.ctx, browser.cancel = ctx, []context.CancelFunc{end, cancel}
		browser.err = chromedp.Do(ctx)
	})
	if browser.err != nil {
		t.Fatalf("start chromium: %v", browser.err)
	}
	return browser.ctx
}

// tab is a page under test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the console says of errors
}

// watcher runs before the page's own scripts and notes what a policy refused
// and by how much anything was shifted.
const watcher = `window.refusals = []; window.shifted = 0;
document.addEventListener("securitypolicyviolation", e => refusals.push(e.violatedDirective + " " + e.blockedURI));
new PerformanceObserver(l => { for (const e of l.getEntries()) if (!e.hadRecentInput) shifted += e.value; }).observe({type: "layout-shift", buffered: true});`

// openTab opens the address in a new tab of the given size.
func openTab(t *testing.T, url string, width, height int64, scheme string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(startBrowser(t))
	p := &tab{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" {
				p.mu.Lock()
				p.problems = append(p.problems, m.String())
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			p.keepPicture("failed-" + t.Name())
		}
		cancel()
		<-heard
	})
	if err := chromedp.Do(ctx); err != nil { // a tab's life must not end with a limited context
		t.Fatal(err)
	}
	p.prefer(scheme)
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watcher}); err != nil {
		t.Fatal(err)
	}
	p.resize(width, height)
	p.do(chromedp.Navigate(url))
	return p
}

// prefer makes the colour scheme, light or dark, the one that the user prefers.
func (p *tab) prefer(scheme string) {
	p.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) resize(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// overview opens the page of a relay and waits until it lives.
func overview(t *testing.T, r *fakeRelay) *tab {
	t.Helper()
	p := openTab(t, r.server.URL+"/", 1440, 900, "light")
	p.live()
	return p
}

func (p *tab) live() {
	p.t.Helper()
	p.await(`document.body.dataset.state === "live"`)
}

// settle waits until the page shows rates, which it computes from two answers, and for
// some frames more.
func (p *tab) settle() {
	p.t.Helper()
	p.live()
	p.ask()
	p.await(`!document.querySelector("#total-packets").textContent.startsWith("–")`)
	p.frames(20)
}

// ask makes the page ask the relay now, and not a second after the last answer.
func (p *tab) ask() {
	p.t.Helper()
	read[bool](p, `dispatchEvent(new Event("online"))`)
}

// frames waits until the page has drawn so many frames.
func (p *tab) frames(n int) {
	p.t.Helper()
	readLater[int](p, fmt.Sprintf(`new Promise(done => { let n = 0; const next = () => n++ < %d ? requestAnimationFrame(next) : done(n); next(); })`, n))
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// read evaluates an expression in the page.
func read[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// readLater evaluates a promise.
func readLater[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true.
func (p *tab) await(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void]("!!("+expression+")", chromedp.WithPollingTimeout(patience))); err != nil {
		p.t.Fatalf("waited for %s: %v\nproblems: %q", expression, err, p.errors())
	}
}

func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, key := range keys {
		p.do(chromedp.KeyEvent(key))
	}
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

func (p *tab) text(selector string) string {
	p.t.Helper()
	return read[string](p, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}

// texts are the texts of all elements that a selector finds and that are seen.
func (p *tab) texts(selector string) []string {
	p.t.Helper()
	return read[[]string](p, fmt.Sprintf("[...document.querySelectorAll(%q)].filter(e => e.checkVisibility()).map(e => e.textContent)", selector))
}

func (p *tab) errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.problems...)
}

// clean fails the test if the console or the policy had anything to complain of.
func (p *tab) clean() {
	p.t.Helper()
	if refused := read[[]string](p, "refusals"); len(refused) > 0 {
		p.t.Errorf("the content security policy refused %q", refused)
	}
	if problems := p.errors(); len(problems) > 0 {
		p.t.Errorf("the console says %q", problems)
	}
}

// picture keeps a screenshot for eyes, if SRTRELAY_TEST_PICTURES is set.
func (p *tab) picture(name string) {
	if os.Getenv("SRTRELAY_TEST_PICTURES") != "" {
		p.keepPicture(name)
	}
}

func (p *tab) keepPicture(name string) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		if err = os.MkdirAll(pictures, 0o755); err == nil {
			err = os.WriteFile(filepath.Join(pictures, strings.ReplaceAll(name, "/", "-")+".png"), image, 0o644)
		}
	}
	if err != nil {
		p.t.Errorf("keep screenshot %s: %v", name, err)
	}
}
