/** A board: all members see what a member pins to it, now and later. */
import { is, List, Room, type Request, type Socket } from "@dormouse/room";

interface Note {
  by: string;
  text: string;
}

/** What clients send. Anything else is refused before `message`. */
interface Pin {
  text: string;
}

/** All notes, on disk: the newest has the highest number. */
const notes = new List<Note>("notes");

const newest = (): Note[] => notes.newest(50).map(({ value }) => value);

// Fields of this class would be a cache: they are lost when the room sleeps, and the constructor makes them again.
export default class Board extends Room<{ hears: Pin; says: Note }> {
  override hears = is.object({ text: is.text({ max: 200 }) });

  override connect(_request: Request, socket: Socket<Note>): void {
    for (const note of newest()) socket.send(note);
  }

  override message(sender: Socket<Note>, { text }: Pin): void {
    const note = { by: sender.user.name, text };
    notes.push(note);
    this.everyone.send(note); // sent only after the note is on disk
  }

  override request(): Note[] {
    return newest();
  }
}
