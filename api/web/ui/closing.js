// The dialog that closes a session. It asks for confirmation, and for the token if the
// relay needs one.

import { el, setAttribute, setText } from "./dom.js";
import * as relay from "./relay.js";

export class Closing {
  constructor() {
    this.text = el("p");
    this.said = el("p.problem", { role: "alert", hidden: true });
    this.token = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false" });
    this.asked = el("div.field", { hidden: true }, el("label", { for: "token" }, "Token (--register-token)"), this.token);
    this.no = el("button.plain", { type: "button", onclick: () => this.dialog.close() }, "Keep it");
    this.yes = el("button.danger", { type: "button", onclick: () => this.close() }, "Close session");
    this.token.addEventListener("keydown", (event) => { if (event.key === "Enter") this.close(); });
    this.dialog = el("dialog", { "aria-labelledby": "closing-title" },
      el("h2", { id: "closing-title" }, "Close this session?"), this.text, this.asked, this.said, el("div.buttons", {}, this.no, this.yes));
    document.body.append(this.dialog);
  }

  // ask opens the dialog; done() is called when the session is closed.
  ask(session, done) {
    this.session = session;
    this.done = done;
    setText(this.text, `The ${session.role} at ${session.caller} and the backend get a SHUTDOWN. Most callers connect again at once.`);
    this.problem("");
    setAttribute(this.asked, "hidden", true);
    this.dialog.showModal();
    this.no.focus();
  }

  // gone closes the dialog, because the session has ended or the page shows another one.
  // The session may have been closed by a call whose answer was lost.
  gone() {
    if (this.dialog.open) this.dialog.close();
  }

  problem(text) {
    setText(this.said, text);
    setAttribute(this.said, "hidden", text === "");
  }

  // close makes one call at a time: Enter may be pressed again before the answer.
  async close() {
    if (this.yes.disabled) return;
    const { session, done } = this;
    const token = this.token.value;
    this.yes.disabled = true;
    try {
      if (!this.asked.hidden) await relay.login(token);
      await relay.closeSession(session.id);
      if (session === this.session) this.gone();
      done();
    } catch (error) {
      if (session === this.session && this.dialog.open) this.failed(error, token);
    } finally {
      this.yes.disabled = false;
    }
  }

  // failed shows why the call failed; sent is the token that it had.
  failed(error, sent) {
    // Logged in with the token for reading, the relay answers 403.
    if (error.status === 401 || error.status === 403) {
      const again = !this.asked.hidden;
      setAttribute(this.asked, "hidden", null);
      this.problem(again ? "The relay does not take this token." : "The relay wants its token for this.");
      // If another token is being typed meanwhile, do not select it: the next key
      // would replace it.
      if (this.token.value === sent) this.token.select();
      else this.token.focus();
      return;
    }
    if (error.status === 404) {
      this.problem("The session has ended already.");
      return;
    }
    this.problem(error.message);
  }
}
