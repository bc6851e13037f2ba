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

  problem(text) {
    setText(this.said, text);
    setAttribute(this.said, "hidden", text === "");
  }

  async close() {
    if (!this.asked.hidden) relay.setToken(this.token.value);
    this.yes.disabled = true;
    try {
      await relay.closeSession(this.session.id);
      this.dialog.close();
      this.done();
    } catch (error) {
      this.failed(error);
    } finally {
      this.yes.disabled = false;
    }
  }

  failed(error) {
    if (error.status === 401) {
      const again = !this.asked.hidden;
      setAttribute(this.asked, "hidden", null);
      this.problem(again ? "The relay does not take this token." : "The relay wants its token for this.");
      this.token.select();
      return;
    }
    if (error.status === 404) {
      this.problem("The session has ended already.");
      return;
    }
    this.problem(error.message);
  }
}
