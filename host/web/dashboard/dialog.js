// @ts-check
/** Questions before an action, in the words of what it does, and short notices afterwards. */

import { byId, duration, fill, h, visible } from "./dom.js";

/** An action that takes longer says so, ms. */
const SOON_MS = 400;
/** How long a notice is shown, ms. */
const NOTICE_MS = 6_000;

let notices = 0;

/** Says that something is done. Screen readers hear it. @param {string} text */
export function notice(text) {
  const element = byId("notice");
  fill(element, text);
  const number = (notices += 1);
  setTimeout(() => {
    if (notices === number) fill(element);
  }, NOTICE_MS);
}

/**
 * @typedef {object} Question
 * @property {string} title Such as "Delete this room?"
 * @property {import("./dom.js").Child | import("./dom.js").Child[]} consequence What will happen, and whether it can be undone.
 * @property {string} action The label of the button that does it, such as "Delete".
 * @property {boolean} [danger] It cannot be undone.
 * @property {string} [typed] The operator must type this first.
 * @property {string} [doing] Shown while it is done, with the time that it takes.
 * @property {HTMLElement[]} [fields] More inputs of the form. Their values are in the form's data.
 * @property {(data: FormData) => Promise<void>} does Does it. The dialog stays open, with the reason, if it fails.
 */

/**
 * Asks before an action. Resolves to whether it was done.
 *
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function ask({
  title,
  consequence,
  action,
  danger = false,
  typed,
  fields = [],
  doing = "It is being done.",
  does,
}) {
  const took = h("span", { "aria-hidden": "true" });
  const progress = h(
    "div",
    { class: "doing", hidden: true },
    h("progress", { "aria-label": action }),
    h("p", { role: "status" }, doing, " ", took),
  );
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const button = h("button", { type: "submit", class: danger ? "danger" : "primary" }, action);
  const cancel = h("button", { type: "button", class: "quiet", autofocus: true }, "Cancel");
  // A name with characters that no keyboard has is typed as it is shown.
  const expected = typed === undefined ? undefined : visible(typed);
  const input = h("input", { id: "dialog-typed", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const typing =
    expected === undefined
      ? []
      : [
          h(
            "div",
            { class: "field" },
            h("label", { for: "dialog-typed" }, "Type ", h("code", {}, expected), " to go on"),
            input,
          ),
        ];
  const form = h(
    "form",
    { method: "dialog", novalidate: true },
    h("h2", { id: "dialog-title" }, title),
    h("div", { class: "consequence", id: "dialog-consequence" }, consequence),
    fields,
    typing,
    problem,
    progress,
    h("div", { class: "actions" }, cancel, button),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-consequence" }, form);

  const check = () => {
    button.disabled = expected !== undefined && input.value !== expected;
  };
  input.addEventListener("input", check);
  check();

  return new Promise((resolve) => {
    let isDone = false;
    let isBusy = false;
    dialog.addEventListener("cancel", (event) => {
      if (isBusy) event.preventDefault();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(isDone);
    });
    cancel.addEventListener("click", () => {
      if (!isBusy) dialog.close();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled || isBusy) return;
      isBusy = button.disabled = cancel.disabled = true;
      problem.hidden = true;
      const began = performance.now();
      const tick = () => {
        const ms = performance.now() - began;
        progress.hidden = ms < SOON_MS;
        fill(took, ms < 1_000 ? "" : duration(Math.floor(ms / 1_000)));
      };
      const ticking = setInterval(tick, SOON_MS);
      try {
        await does(new FormData(form));
        isDone = true;
        dialog.close();
      } catch (error) {
        fill(problem, error instanceof Error ? error.message : String(error));
        problem.hidden = false;
      } finally {
        clearInterval(ticking);
        progress.hidden = true;
        isBusy = cancel.disabled = false;
        check();
      }
    });
    document.body.append(dialog);
    dialog.showModal();
    if (expected !== undefined) input.focus();
  });
}
