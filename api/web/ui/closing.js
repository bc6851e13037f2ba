// Closing a session: asks first, and for the token if the relay wants one.

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

  // gone closes the dialog: its session has ended, or is not what the page
  // shows any more. The answer to a call that did close it may have been lost.
  gone() {
    if (this.dialog.open) this.dialog.close();
  }

  problem(text) {
    setText(this.said, text);
    setAttribute(this.said, "hidden", text === "");
  }

  // close asks the relay once at a time: Enter may come again before its answer.
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

  // failed says why; sent is the token that was refused.
  failed(error, sent) {
    // Logged in with the token for reading, the relay answers 403.
    if (error.status === 401 || error.status === 403) {
      const again = !this.asked.hidden;
      setAttribute(this.asked, "hidden", null);
      this.problem(again ? "The relay does not take this token." : "The relay wants its token for this.");
      // What is being typed meanwhile is a better one: the next key must not
      // replace it.
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
