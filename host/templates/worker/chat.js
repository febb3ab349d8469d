// The page of the chat. Open it twice, such as /?name=ana and /?name=bo; /?room=tea is another room.
const query = new URLSearchParams(location.search);
const room = query.get("room") ?? "lobby";
const name = query.get("name") ?? prompt("Your name") ?? "somebody";

// With `auth = "dev"` every name is accepted as a user. With real users the page's cookie takes the place of this.
const token = `${encodeURIComponent(name)}:${name}`;
const url = new URL(`rooms/${room}?token=${encodeURIComponent(token)}`, location.href);
url.protocol = url.protocol.replace("http", "ws");

const element = (id) => document.getElementById(id);
let socket;

const connect = () => {
  socket = new WebSocket(url);
  socket.onopen = () => {
    element("lines").replaceChildren(); // the room sends all of them again
    element("state").textContent = `${name} in ${room}`;
  };
  socket.onmessage = ({ data }) => {
    const { by, text } = JSON.parse(data);
    const line = document.createElement("li");
    line.textContent = `${by}: ${text}`;
    element("lines").append(line);
    line.scrollIntoView();
  };
  socket.onclose = () => {
    element("state").textContent = "connecting";
    setTimeout(connect, 1000);
  };
};
connect();

element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(element("text").value);
  element("text").value = "";
});
