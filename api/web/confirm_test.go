package web

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// typeToken types a token into the dialog, and Enter when all of it is there.
func (p *tab) typeToken(token string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), token))
	p.await(fmt.Sprintf(`document.querySelector("#token").value === %q`, token))
	p.press(kb.Enter)
}

// openClosing opens the dialog that closes a session, up to where it asks for
// the token.
func openClosing(t *testing.T, r *fakeRelay, session string) *tab {
	t.Helper()
	p := openTab(t, r.server.URL+"/#/session/"+session, 1440, 900, "light")
	p.await(`document.querySelector("#session-title").textContent.startsWith("Publisher")`)
	p.click("#session-close")
	p.await(`document.activeElement.textContent === "Keep it"`)
	p.click("dialog .danger")
	p.await(`document.activeElement.id === "token" && document.querySelector(".problem").textContent === "The relay wants its token for this."`)
	return p
}

// The relay closes the session and its answer is lost, as on a busy machine when
// the page's patience ends first: the dialog used to stay open for good.
func TestDialogClosesWithItsSession(t *testing.T) {
	r := startRelay(t, 5)
	r.token, r.mute = "secret", true
	p := openClosing(t, r, sessionsOf(2, 0)[0].ID)
	p.typeToken("secret")
	p.await(`!document.querySelector("dialog").open && !document.querySelector("#session-gone").hidden`)
}

// A refusal that comes while the token is typed anew takes nothing of it away.
func TestRefusalLeavesWhatIsTyped(t *testing.T) {
	r := startRelay(t, 5)
	r.token = "secret"
	s := sessionsOf(2, 0)[0]
	p := openClosing(t, r, s.ID)
	r.change(func() { // the relay does not answer meanwhile
		p.typeToken("wrong")
		read[int](p, `document.querySelector("#token").value = "sec"; 1`)
	})
	p.await(`document.querySelector(".problem").textContent === "The relay does not take this token."`)
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), "ret"))
	p.await(`document.querySelector("#token").value === "secret"`)
	p.press(kb.Enter)
	p.await(`!document.querySelector("dialog").open`)
	r.change(func() {
		if !slices.Equal(r.closed, []string{s.ID}) {
			t.Errorf("closed %q", r.closed)
		}
	})
}

// A relay that shows nothing without a token: the page asks for it, and goes on with a
// cookie that no script can read.
func TestLogin(t *testing.T) {
	r := startRelay(t, 5)
	r.token, r.private = "secret", true
	p := openTab(t, r.server.URL+"/", 1440, 900, "light")
	p.await(`document.activeElement.id === "login-token"`)
	enter := func(token string) {
		p.do(chromedp.SendKeys(chromedp.CSS("#login-token"), token))
		p.await(fmt.Sprintf(`document.querySelector("#login-token").value === %q`, token))
		p.press(kb.Enter)
	}
	enter("wrong")
	p.await(`document.querySelector("dialog[open] .problem").textContent === "The relay does not take this token."`)
	read[int](p, `document.querySelector("#login-token").value = ""; 1`)
	enter("secret")
	p.await(`!document.querySelector("dialog[open]") && document.querySelector("#version").textContent === "v0.5.0"`)
	if cookie := read[string](p, `document.cookie`); cookie != "" {
		t.Errorf("a script reads %q", cookie)
	}
	r.change(func() { // its login ends
		r.token = "another"
	})
	p.await(`document.activeElement.id === "login-token"`)
}

// A backend is drained and undrained on the page: it asks first, wants the token, and
// says what the relay says.
func TestDrain(t *testing.T) {
	r := startRelay(t, 5)
	r.token = "secret"
	p := overview(t, r)
	const first = `#backends li:first-child`
	p.await(`document.querySelector("` + first + ` .drain")?.textContent === "Drain…"`)
	p.click(first + " .drain")
	p.await(`document.activeElement.textContent === "Cancel" && document.querySelector("#confirm-title").textContent === "Drain origin-a?"`)
	p.press(kb.Escape)
	p.await(`!document.querySelector("dialog").open`)
	p.click(first + " .drain")
	p.click("dialog .danger")
	p.await(`document.activeElement.id === "token" && document.querySelector(".problem").textContent === "The relay wants its token for this."`)
	p.typeToken("wrong")
	p.await(`document.querySelector(".problem").textContent === "The relay does not take this token."`)
	r.change(func() {
		if len(r.drained) > 0 {
			t.Errorf("drained without the token: %q", r.drained)
		}
	})
	p.typeToken("secret")
	p.await(`!document.querySelector("dialog").open && document.querySelector("` + first + ` .health").textContent === "draining" && document.querySelector("` + first + ` .drain").textContent === "Undrain…"`)
	p.picture("drained")
	// The login is remembered.
	p.click(first + " .drain")
	p.await(`document.querySelector("#confirm-title").textContent === "Give origin-a new streams again?"`)
	p.click("dialog .danger")
	p.await(`!document.querySelector("dialog").open && document.querySelector("` + first + ` .health").textContent === "alive"`)
	r.change(func() {
		if want := []string{"origin-a drain", "origin-a undrain"}; !slices.Equal(r.drained, want) {
			t.Errorf("asked for %q, want %q", r.drained, want)
		}
		r.failing = "shutting down"
	})
	p.click(first + " .drain")
	p.click("dialog .danger")
	p.await(`document.querySelector("dialog").open && document.querySelector(".problem").textContent === "shutting down"`)
}

// What turns the direction of writing, or cannot be seen, is shown as bytes,
// whoever put it there.
func TestHostileTextIsShownAsBytes(t *testing.T) {
	p := overview(t, startRelay(t, 3))
	const write = `import("/ui/dom.js").then(dom => dom.el("p", {title: "t\u202e"}, "a\u009b31m\u2066b\u200b")).then(p => p.textContent + p.title)`
	if got, want := readLater[string](p, write), `a\xc2\x9b31m\xe2\x81\xa6b\xe2\x80\x8bt\xe2\x80\xae`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
