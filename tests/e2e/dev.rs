//! `dormouse dev`: an edit is live while sockets stay open, and a build that fails changes nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::harness::{connect, request, within};

const ENGINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/javascript/dormouse-engine.wasm");

/// The folder of esbuild: that of the packages for rooms in TypeScript.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/javascript/node_modules/.bin");

/// A first build compiles the engine and a component: some seconds, and minutes where other tests run too.
const BUILD_TIMEOUT: Duration = Duration::from_secs(600);

/// No test reads from its socket while it waits for a build, so the server must not ask whether it is still there.
const LIMITS: &str = "[limits]\nping_every = \"1h\"\n";

/// A project that is being written, and the command that serves it.
struct Dev {
    folder: TempDir,
    child: Child,
    /// Everything that it has written; absent lines are still to come, unless it has ended.
    log: Arc<Mutex<Vec<String>>>,
    /// The lines of it that a test has waited for.
    seen: usize,
}

impl Dev {
    /// Serves a folder with these files. Programs in its folder `bin` are found first.
    fn start(files: &[(&str, &str)], args: &[&str]) -> Dev {
        assert!(Path::new(ENGINE).is_file(), "the JavaScript engine is not built: run `make javascript-engine`");
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            write(folder.path(), name, text);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args(["dev", "--engine", ENGINE, "--listen", "127.0.0.1:0"])
            .args(args)
            .current_dir(&folder)
            .env("PATH", format!("{}:{TOOLS}:{path}", folder.path().join("bin").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, written) = (BufReader::new(child.stderr.take().expect("it is piped")).lines(), log.clone());
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| written.lock().unwrap().push(line)));
        Dev { folder, child, log, seen: 0 }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.folder.path(), name, text);
    }

    /// Waits for a line with this text behind those that were waited for, and returns it.
    async fn line(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(BUILD_TIMEOUT, async {
            loop {
                let next = self.log.lock().unwrap().get(self.seen).cloned();
                match next {
                    Some(line) => {
                        self.seen += 1;
                        if line.contains(text) {
                            return line;
                        }
                    }
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("{text:?} is not in its log:\n{}", self.log.lock().unwrap().join("\n")))
    }

    async fn address(&mut self) -> std::net::SocketAddr {
        let ready = self.line("ready on http://").await;
        let (_, address) = ready.split_once("http://").unwrap();
        address.split(' ').next().unwrap().parse().expect("an address")
    }

    /// Ctrl-C. Returns whether it ended well.
    async fn interrupt(&mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        within(async {
            loop {
                match self.child.try_wait().unwrap() {
                    Some(status) => return status.success(),
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    if name.starts_with("bin/") {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A room that answers each message with a word and the number of messages so far.
fn counter(word: &str) -> String {
    format!(
        "import * as host from \"dormouse:host\";\nimport {{ word }} from \"./word\";\n\nexport default class {{\n  \
         connect(): void {{}}\n  message(socket: string, text: string): void {{\n    \
         const count = ((host.getValue(\"count\") as number | undefined) ?? 0) + 1;\n    \
         host.putValue(\"count\", count);\n    console.info(\"heard\", text);\n    \
         host.send(socket, JSON.stringify(`${{word}} {word} ${{count}}`));\n  }}\n}}\n"
    )
}

const WORD: &str = "export const word: string = \"tea\";\n";
const ROOM: &str = "/api/realtime/rooms/any/ws?token=1:ana";

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_live_while_sockets_stay_open() {
    let namespace = "[namespaces.ROOMS]\ncomponent = \"room.wasm\"\nsource = \"src/room.ts\"\n";
    let config = format!("page = false\n{LIMITS}{namespace}");
    let files = [("dormouse.toml", &*config), ("src/room.ts", &counter("one")), ("src/word.ts", WORD)];
    let mut dev = Dev::start(&files, &[]);
    let address = dev.address().await;
    assert!(dev.line("rooms of ROOMS: ws://").await.contains(&address.to_string()));
    let mut ana = connect(address, ROOM, &[]).await.expect("a socket");
    ana.send("1").await;
    assert_eq!(ana.recv().await, "tea one 1");
    // What a room logs is shown.
    dev.line("heard 1").await;

    dev.write("src/room.ts", &counter("two"));
    dev.line("ROOMS is live with src/room.ts").await;
    ana.send("2").await;
    assert_eq!(ana.recv().await, "tea two 2");

    // An edit of a file that the entry imports, and one that changes nothing.
    dev.write("README.md", "nothing");
    dev.write("src/word.ts", "export const word = \"coffee\";\n");
    dev.line("ROOMS is live").await;
    ana.send("3").await;
    assert_eq!(ana.recv().await, "coffee two 3");

    // A build that fails, by its syntax and by what it does at the top level.
    dev.write("src/word.ts", "export const word = ;\n");
    dev.line("not built, the version before goes on running").await;
    dev.line("src/word.ts:1:20").await;
    dev.write("src/word.ts", "export const word = `${Date.now()}`;\n");
    dev.line("not available while the module is loaded").await;
    dev.line("src/word.ts:1:").await;
    ana.send("4").await;
    assert_eq!(ana.recv().await, "coffee two 4");

    dev.write("src/word.ts", "export const word = \"milk\";\n");
    dev.line("ROOMS is live").await;
    ana.send("5").await;
    assert_eq!(ana.recv().await, "milk two 5");
    assert!(dev.interrupt().await);
    assert_eq!(ana.recv_close().await.0, 1001);
    let own = dev.folder.path().join(".dormouse");
    assert!(own.join("data").is_dir() && fs::read_to_string(own.join(".gitignore")).unwrap() == "*\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_cannot_wake_leaves_the_version_before() {
    let mut dev = Dev::start(&[("src/room.ts", &counter("one")), ("src/word.ts", WORD)], &["src/room.ts"]);
    let address = dev.address().await;
    let broken = counter("two").replace("  connect(): void {}", "  constructor() { throw new Error(\"no tea\"); }");
    dev.write("src/room.ts", &broken);
    let refused = dev.line("the version before goes on running").await;
    assert!(refused.contains("no tea") && refused.contains("src/room.ts"), "{refused}");
    let mut ana = connect(address, ROOM, &[]).await.expect("a socket");
    ana.send("1").await;
    assert_eq!(ana.recv().await, "tea one 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_does_not_build_yet_is_served_when_it_does() {
    let config =
        "page = false\nassets = \"public\"\n[namespaces.NOTES]\ncomponent = \"notes.wasm\"\nsource = \"room.ts\"\n";
    let files = [("dormouse.toml", config), ("room.ts", "export const x = 1;\n"), ("public/index.html", "<p>one")];
    let mut dev = Dev::start(&files, &[]);
    dev.line("not built, nothing is served").await;
    dev.line("no default export").await;
    dev.write("word.ts", WORD);
    dev.write("room.ts", &counter("one"));
    let address = dev.address().await;
    let page = request(address, Method::GET, "/", &[], "").await;
    assert_eq!((page.body.as_ref(), page.header("content-type")), (&b"<p>one"[..], "text/html; charset=utf-8"));

    let path = "/api/realtime/notes/any/ws?token=1:ana";
    let mut ana = connect(address, path, &[]).await.expect("a socket");
    ana.send("1").await;
    assert_eq!(ana.recv().await, "tea one 1");
    // Another configuration takes another server, at the same address and with the same data.
    dev.write("dormouse.toml", &config.replace("NOTES", "MEMOS"));
    dev.line("the configuration has changed").await;
    assert_eq!(dev.address().await, address);
    assert_eq!(ana.recv_close().await.0, 1001);
    dev.write("dormouse.toml", &config.replace("component", "compnent"));
    dev.line("did you mean `component`?").await;
    dev.write("dormouse.toml", config);
    dev.line("ready on").await;
    let mut ana = connect(address, path, &[]).await.expect("a socket");
    ana.send("2").await;
    assert_eq!(ana.recv().await, "tea one 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_in_rust_is_built_by_cargo_and_deployed() {
    let config =
        &*format!("page = false\n{LIMITS}[namespaces.ROOMS]\ncomponent = \"target/wasm32-wasip2/release/room.wasm\"\n");
    // It stands for cargo, which takes half a minute. The components are the shipped ones, so no compiler is needed.
    let cargo = "#!/bin/sh\nread word rest < src/lib.rs\n[ $word = broken ] && { echo 'error: src/lib.rs:1' >&2; exit 101; }\n\
                 mkdir -p target/wasm32-wasip2/release; \
                 echo \"$@\" > target/args; cp \"$word.wasm\" target/wasm32-wasip2/release/room.wasm\n";
    let files = [("dormouse.toml", config), ("Cargo.toml", ""), ("src/lib.rs", "one\n"), ("bin/cargo", cargo)];
    let mut dev = Dev::start(&files, &[]);
    dev.line("not built, nothing is served").await;
    for (name, component) in [("one", dormouse_bundle::CHAT_ROOM), ("two", dormouse_bundle::PRESENCE_TRACKER)] {
        fs::write(dev.folder.path().join(format!("{name}.wasm")), component).unwrap();
    }
    dev.write("src/lib.rs", "one \n");
    let address = dev.address().await;
    let args = fs::read_to_string(dev.folder.path().join("target/args")).unwrap();
    assert!(args.starts_with("build --quiet --target wasm32-wasip2 --release"), "{args}");
    let mut ana = connect(address, ROOM, &[]).await.expect("a socket");
    assert_eq!(ana.recv().await["type"], "history");
    dev.write("src/lib.rs", "broken\n");
    dev.line("error: src/lib.rs:1").await;
    dev.write("src/lib.rs", "two\n");
    dev.line("ROOMS is live with Cargo.toml").await;
    ana.send(r#"{"type":"status","status":"busy"}"#).await;
    assert_eq!(ana.recv().await["type"], "presence_update");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_what_was_started() {
    let slow = "#!/bin/sh\necho $$ > pids; sleep 1000 & echo $! >> pids; wait\n";
    let mut dev = Dev::start(&[("room.ts", ""), ("bin/esbuild", slow)], &["room.ts"]);
    let file = dev.folder.path().join("pids");
    let pids = within(async {
        loop {
            let pids = fs::read_to_string(&file).unwrap_or_default();
            if pids.lines().count() == 2 {
                return pids;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let pids = pids.await;
    assert!(dev.interrupt().await);
    for pid in pids.lines().map(|pid| pid.parse::<i32>().unwrap()) {
        let pid = Pid::from_raw(pid).unwrap();
        // It is gone when the system has collected it.
        within(async {
            while test_kill_process(pid).is_ok() && !is_zombie(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}
