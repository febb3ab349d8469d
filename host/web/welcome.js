// @ts-check
/** The sign-in form: asks for the reader's name or token, and for a room. */

import { isRoomName } from "/client/index.js";
import { byId } from "./dom.js";
import { DevIdentity } from "./identity.js";

/** @typedef {import("./identity.js").TokenIdentity} TokenIdentity */

export class Welcome {
  #page = byId("welcome");
  #problem = byId("welcome-problem");
  #name = byId("name", HTMLInputElement);
  #token = byId("token", HTMLTextAreaElement);
  #room = byId("room", HTMLInputElement);
  #identity;

  /**
   * @param {DevIdentity | TokenIdentity} identity
   * @param {(room: string) => void} enter
   */
  constructor(identity, enter) {
    this.#identity = identity;
    byId("name-field").hidden = !(identity instanceof DevIdentity);
    byId("token-field").hidden = identity instanceof DevIdentity;
    byId("welcome-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const room = this.#room.value.trim();
      const mistake =
        this.#take() ??
        (isRoomName(room)
          ? undefined
          : { field: this.#room, text: "A room needs a name of 1 to 128 bytes, without a slash." });
      if (mistake) return this.#showProblem(mistake.text, mistake.field);
      this.#page.hidden = true;
      enter(room);
    });
  }

  /**
   * @param {string} room
   * @param {string} [problem]
   */
  show(room, problem) {
    this.#page.hidden = false;
    this.#room.value = room;
    const first = this.#identity instanceof DevIdentity ? this.#name : this.#token;
    if (this.#identity instanceof DevIdentity) this.#name.value = this.#identity.suggestion;
    if (problem) this.#showProblem(problem, first);
    else this.#problem.hidden = true;
    first.focus();
    first.select();
  }

  /** @returns {{ field: HTMLInputElement | HTMLTextAreaElement, text: string } | undefined} The mistake, if any. */
  #take() {
    if (this.#identity instanceof DevIdentity) {
      const name = this.#name.value.replace(/\p{Cc}/gu, "").trim();
      if (name === "") return { field: this.#name, text: "What shall the others call you?" };
      this.#identity.userName = name;
    } else {
      const token = this.#token.value.replace(/\s/g, "").replace(/^Bearer/i, "");
      if (token === "") return { field: this.#token, text: "Paste the token that you were given." };
      if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token))
        return { field: this.#token, text: "This is not a JWT: three parts, with dots between them." };
      this.#identity.token = token;
      this.#token.value = "";
    }
    return undefined;
  }

  /**
   * @param {string} text
   * @param {HTMLElement} field
   */
  #showProblem(text, field) {
    this.#problem.textContent = text;
    this.#problem.hidden = false;
    field.focus();
  }
}
