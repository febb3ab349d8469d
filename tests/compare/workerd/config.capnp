# The chat room as a Durable Object, for plain workerd. The directory and the port are given on the command line:
#
#     workerd serve config.capnp --directory-path=objects=DIR --socket-addr=http=127.0.0.1:8080

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "chat", worker = .chat),
    (name = "objects", disk = (path = "/nonexistent", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "chat")],
);

const chat :Workerd.Worker = (
  modules = [(name = "room.mjs", esModule = embed "room.mjs")],
  # The newest that this workerd knows, so that all its improvements are on.
  compatibilityDate = "2026-11-17",
  # Messages of a chat are short, and no other server here compresses them.
  compatibilityFlags = ["no_web_socket_compression"],
  bindings = [(name = "ROOMS", durableObjectNamespace = "ChatRoom")],
  durableObjectNamespaces = [(className = "ChatRoom", uniqueKey = "chat-room", enableSql = true)],
  # One SQLite file for each object, synced before what the object says may leave: the same promise as Dormouse's.
  durableObjectStorage = (localDisk = "objects"),
);
