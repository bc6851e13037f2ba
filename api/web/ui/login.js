// Logging in: asks for the token where the relay shows nothing without one.

import { el, setAttribute, setText } from "./dom.js";
import * as relay from "./relay.js";

export class Login {
  // done() is called after each login.
  constructor(done) {
    this.done = done;
    this.said = el("p.problem", { role: "alert", hidden: true });
    this.token = el("input", { type: "password", id: "login-token", autocomplete: "current-password", spellcheck: "false" });
    this.yes = el("button.plain", { type: "button", onclick: () => this.send() }, "Log in");
    this.token.addEventListener("keydown", (event) => { if (event.key === "Enter") this.send(); });
    this.dialog = el("dialog", { "aria-labelledby": "login-title" },
      el("h2", { id: "login-title" }, "Log in to the relay"),
      el("div.field", {}, el("label", { for: "login-token" }, "Token (--read-token or --register-token)"), this.token),
      this.said, el("div.buttons", {}, this.yes));
    document.body.append(this.dialog);
  }

  ask() {
    if (this.dialog.open || document.querySelector("dialog[open]")) return;
    this.problem("");
    this.token.value = "";
    this.dialog.showModal();
    this.token.focus();
  }

  problem(text) {
    setText(this.said, text);
    setAttribute(this.said, "hidden", text === "");
  }

  async send() {
    if (this.yes.disabled) return;
    const sent = this.token.value;
    this.yes.disabled = true;
    try {
      await relay.login(sent);
      this.dialog.close();
      this.done();
    } catch (error) {
      this.problem(error.status === 401 ? "The relay does not take this token." : error.message);
      if (this.token.value === sent) this.token.select();
    } finally {
      this.yes.disabled = false;
    }
  }
}
