/** A live region that tells screen readers what happened in the room. */

import { type Ref, useEffect, useImperativeHandle, useRef, useState } from "react";

/** How long an announcement stays for a screen reader to find, ms, and the most at one time. */
const ANNOUNCED_MS = 10_000;
const ANNOUNCEMENTS = 5;

export interface AnnouncerHandle {
  announce: (text: string) => void;
}

export function Announcer({ handle }: { handle: Ref<AnnouncerHandle> }) {
  const [announcements, setAnnouncements] = useState<readonly { id: number; text: string }[]>([]);
  const count = useRef(0);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  useImperativeHandle(
    handle,
    () => ({
      announce(text) {
        const id = (count.current += 1);
        setAnnouncements((earlier) => [...earlier, { id, text }].slice(-ANNOUNCEMENTS));
        clearTimeout(timer.current);
        timer.current = setTimeout(() => setAnnouncements([]), ANNOUNCED_MS);
      },
    }),
    [],
  );
  useEffect(() => () => clearTimeout(timer.current), []);

  return (
    <div className="dormouse-visually-hidden" aria-live="polite">
      {announcements.map(({ id, text }) => (
        <p key={id}>{text}</p>
      ))}
    </div>
  );
}
