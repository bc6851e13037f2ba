// The dialog that asks for confirmation before something is changed, and for the token if
// the relay needs one. The page has one.

import { el, setAttribute, setText } from "./dom.js";
import * as relay from "./relay.js";

export class Confirmation {
  constructor() {
    this.title = el("h2", { id: "confirm-title" });
    this.text = el("p");
    this.said = el("p.problem", { role: "alert", hidden: true });
    this.token = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false" });
    this.asked = el("div.field", { hidden: true }, el("label", { for: "token" }, "Token (--register-token)"), this.token);
    this.no = el("button.plain", { type: "button", onclick: () => this.dialog.close() });
    this.yes = el("button.danger", { type: "button", onclick: () => this.confirm() });
    this.token.addEventListener("keydown", (event) => { if (event.key === "Enter") this.confirm(); });
    this.dialog = el("dialog", { "aria-labelledby": "confirm-title" },
      this.title, this.text, this.asked, this.said, el("div.buttons", {}, this.no, this.yes));
    document.body.append(this.dialog);
  }

  // ask opens the dialog. The question has its texts {title, text, no, yes}, call(), which
  // makes the change, done(), which is called after it, and gone, the meaning of a 404.
  ask(question) {
    this.question = question;
    setText(this.title, question.title);
    setText(this.text, question.text);
    setText(this.no, question.no);
    setText(this.yes, question.yes);
    this.problem("");
    setAttribute(this.asked, "hidden", true);
    this.dialog.showModal();
    this.no.focus();
  }

  // withdraw closes the dialog, because its object is gone or the page shows another one.
  // The change may have been made by a call whose answer was lost.
  withdraw() {
    if (this.dialog.open) this.dialog.close();
  }

  problem(text) {
    setText(this.said, text);
    setAttribute(this.said, "hidden", text === "");
  }

  // confirm makes one call at a time: Enter may be pressed again before the answer.
  async confirm() {
    if (this.yes.disabled) return;
    const { question } = this;
    const token = this.token.value;
    this.yes.disabled = true;
    try {
      if (!this.asked.hidden) await relay.login(token);
      await question.call();
      if (question === this.question) this.withdraw();
      question.done();
    } catch (error) {
      if (question === this.question && this.dialog.open) this.failed(error, token);
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
    this.problem(error.status === 404 ? this.question.gone : error.message);
  }
}
