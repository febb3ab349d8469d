//! The scores of a game: a message is the number of points that its user has reached, and all clients see the ten
//! highest. `GET /search?q=` finds players by the start of their names.
//!
//! Shows SQL: a table, an index, a transaction and a query, in the storage of the room.

use dormouse_room::json::ClientError;
use dormouse_room::personal_data::{Erased, Exported, PersonalData};
use dormouse_room::{Message, Refusal, Request, Response, Result, Room, Socket, sockets, sql};
use serde::Serialize;

/// A line of the list.
#[derive(Serialize)]
struct Score {
    name: String,
    points: i64,
}

struct Scores; // no cache: SQLite has one
dormouse_room::export!(Scores);
dormouse_room::export_personal_data!(Scores);

impl Room for Scores {
    fn wake() -> Result<Self> {
        sql::execute(
            "CREATE TABLE IF NOT EXISTS players (id TEXT PRIMARY KEY, name TEXT NOT NULL, best INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS games (player TEXT NOT NULL REFERENCES players (id) ON DELETE CASCADE,
                                               points INTEGER NOT NULL CHECK (points BETWEEN 0 AND 1000000));
             CREATE INDEX IF NOT EXISTS best_players ON players (best DESC);",
            (),
        )?;
        Ok(Scores)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        Ok(socket.send_json(&best()?)?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let Some(Ok(points)) = message.as_text().map(str::parse::<i64>) else {
            return sender.send_error(&ClientError::new("no_number", "send a number of points").for_message(&message));
        };
        match keep(&sender.user().id, &sender.user().name, points) {
            Ok(()) => sockets::everyone().broadcast_json(&best()?),
            Err(error) => sender.send_error(&ClientError::new("refused", error.to_string()).for_message(&message)),
        }
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let start = request.query().get("q").unwrap_or_default();
        let rows =
            sql::query("SELECT name, best FROM players WHERE name LIKE ? || '%' ORDER BY name LIMIT 50", (start,))?;
        Response::json(&rows.map(|row| score(&row?)).collect::<Result<Vec<_>, _>>()?)
    }
}

/// Keeps a game and the best one of its player. If the game is refused, the player is not kept either.
fn keep(id: &str, name: &str, points: i64) -> Result<(), sql::Error> {
    sql::transaction(|| {
        let player = "INSERT INTO players VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
                      best = max(best, excluded.best)";
        sql::execute(player, (id, name, points))?;
        sql::execute("INSERT INTO games VALUES (?, ?)", (id, points))?;
        Ok(())
    })
}

fn best() -> Result<Vec<Score>, sql::Error> {
    sql::query("SELECT name, best FROM players ORDER BY best DESC, name LIMIT 10", ())?
        .map(|row| score(&row?))
        .collect()
}

fn score(row: &sql::Row) -> Result<Score, sql::Error> {
    Ok(Score { name: row.get("name")?, points: row.get("best")? })
}

/// The data of a user is the name and the games.
impl PersonalData for Scores {
    fn export_user(&mut self, user: &str, _after: Option<&str>) -> Result<Exported> {
        let rows =
            sql::query("SELECT name, points FROM games JOIN players ON id = player WHERE id = ? LIMIT 1000", (user,))?;
        let games = rows.map(|row| {
            let row = row?;
            Ok::<_, sql::Error>(Score { name: row.get("name")?, points: row.get("points")? })
        });
        Exported::all(games.collect::<Result<Vec<_>, _>>()?)
    }

    fn erase_user(&mut self, user: &str, _after: Option<&str>) -> Result<Erased> {
        let erased = sql::execute("DELETE FROM players WHERE id = ?", (user,))?;
        if erased > 0 {
            sockets::everyone().broadcast_json(&best()?)?;
        }
        Ok(Erased::all(u32::try_from(erased)?))
    }
}
