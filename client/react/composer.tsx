/** The text field. It knows the keys and its own size, and not what happens to the text. */

import { type KeyboardEvent, type SyntheticEvent, useEffect, useId, useLayoutEffect, useRef, useState } from "react";
import { MAX_CONTENT_UNITS } from "../src/index.js";
import type { ChatRoomLabels } from "./labels.js";

/** From this length on the field shows how much is left. */
const NEARLY_FULL = MAX_CONTENT_UNITS - 200;

/** The `keyCode` of every key that an input method handles. */
const COMPOSING = 229;

interface ComposerProps {
  /** Whether the text was accepted; otherwise it returns to the field. */
  send: (text: string) => Promise<boolean>;
  typing: () => void;
  announce: (text: string) => void;
  title: string;
  words: ChatRoomLabels;
  autoFocus: boolean;
  /** Why the user may not write: it is shown in the place of the field. What was written returns with the field. */
  refusal: string | undefined;
}

export function Composer({ send, typing, announce, title, words, autoFocus, refusal }: ComposerProps) {
  const [text, setText] = useState("");
  /** How much too long the text is. Negative: how much is left. */
  const excess = text.length - MAX_CONTENT_UNITS;
  const field = useRef<HTMLTextAreaElement>(null);
  const fieldId = useId();
  const leftId = useId();

  useEffect(() => {
    if (autoFocus) field.current?.focus({ preventScroll: true });
  }, [autoFocus]);
  useLayoutEffect(() => {
    if (!field.current) return;
    field.current.style.height = "auto";
    field.current.style.height = `${field.current.scrollHeight}px`;
  }, [text, refusal]);

  const submit = async (event?: SyntheticEvent) => {
    event?.preventDefault();
    if (text.trim() === "") return;
    // A pasted text is not cut: its author knows best which part can go.
    if (excess > 0) return announce(words.tooLong(excess));
    setText("");
    field.current?.focus();
    if (!(await send(text))) setText((since) => (since === "" ? text : since));
  };
  const pressed = (event: KeyboardEvent) => {
    // Enter may also end a word in an input method. Safari reports that only by the old key code.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing || event.keyCode === COMPOSING) return;
    void submit(event);
  };

  if (refusal !== undefined) {
    return (
      <p className="dormouse-read-only" role="status">
        {refusal}
      </p>
    );
  }
  return (
    <form className="dormouse-composer" onSubmit={submit}>
      <label className="dormouse-visually-hidden" htmlFor={fieldId}>
        {words.message}
      </label>
      <textarea
        ref={field}
        id={fieldId}
        rows={1}
        aria-invalid={excess > 0 || undefined}
        enterKeyHint="send"
        placeholder={words.placeholder(title)}
        aria-describedby={leftId}
        value={text}
        onKeyDown={pressed}
        onChange={({ target }) => {
          setText(target.value);
          if (target.value.trim() !== "") typing();
        }}
      />
      <span id={leftId} className="dormouse-left" data-excess={excess > 0 || undefined} aria-live="polite">
        {excess > 0 ? words.unitsOver(excess) : text.length > NEARLY_FULL ? words.unitsLeft(-excess) : ""}
      </span>
      <button type="submit" className="dormouse-send" aria-label={words.send}>
        <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
          <path d="M12 19V5M5.5 11.5 12 5l6.5 6.5" />
        </svg>
      </button>
    </form>
  );
}
