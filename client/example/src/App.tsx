import { useState } from "react";
import { ChatRoom, DormouseProvider } from "@dormouse/client/react";
import "@dormouse/client/chat-room.css";
import { People } from "./People.tsx";
import { SignIn, type User, currentUser } from "./SignIn.tsx";

const FIRST = new URLSearchParams(location.search).get("room") ?? "lobby";
const ROOMS = [FIRST, "kitchen", "garden"];

export function App() {
  const [user, setUser] = useState<User | undefined>(currentUser);
  const [roomId, setRoomId] = useState(FIRST);
  if (!user) return <SignIn signedIn={setUser} />;
  return (
    // In dev auth the token is USERID:USERNAME. With auth = "jwt" this would be { token: await yourToken(refused) }.
    <DormouseProvider credentials={() => ({ devToken: `${user.id}:${user.name}` })}>
      <div className="page">
        <aside>
          <nav aria-label="Rooms">
            {ROOMS.map((room) => (
              <button key={room} type="button" aria-current={room === roomId} onClick={() => setRoomId(room)}>
                {room}
              </button>
            ))}
          </nav>
          <People />
        </aside>
        <main>
          <ChatRoom roomId={roomId} headingLevel={1} autoFocus />
        </main>
      </div>
    </DormouseProvider>
  );
}
