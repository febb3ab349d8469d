//! Noughts and crosses: the first two who come play, the others watch, and who thinks too long has lost.
//!
//! Shows named timers (the clock of a move survives a restart of the server) and a list (the moves, for whoever comes
//! later). A move is the number of a field, `0` to `8`.

use std::time::Duration;

use dormouse_room::said::Complaint;
use dormouse_room::storage::{List, Value};
use dormouse_room::{Error, Message, Refusal, Request, Result, Room, Socket, Timer, sockets, timers};
use serde::Serialize;

const PLAYERS: Value<Vec<String>> = Value::new("players");
const MOVES: List<usize> = List::new("moves");
const LOST: Value<usize> = Value::new("lost on time");

/// The one clock there is: of who is to move.
const CLOCK: &str = "clock";
const TIME_FOR_A_MOVE: Duration = Duration::from_secs(30);

const ROWS: [[usize; 3]; 8] = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];

/// What everybody sees. Players are 0 and 1.
#[derive(Serialize)]
struct Game {
    players: Vec<String>,
    moves: Vec<usize>,
    to_move: usize,
    winner: Option<usize>,
}

struct Table;
dormouse_room::export!(Table);

impl Room for Table {
    fn wake() -> Result<Self> {
        Ok(Table) // nine moves are read as quickly as they are remembered
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        let mut game = Game::load()?;
        let user = socket.user().id;
        if game.players.len() < 2 && !game.players.contains(&user) {
            game.players.push(user);
            PLAYERS.put(&game.players)?;
        }
        Ok(sockets::everyone().broadcast_json(&game)?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let game = Game::load()?;
        match game.judge(&sender.user().id, &message) {
            Ok(field) => {
                MOVES.push(&field)?;
                let game = Game::load()?;
                if game.is_over() {
                    timers::cancel(CLOCK);
                } else {
                    timers::set_after(CLOCK, TIME_FOR_A_MOVE, [])?;
                }
                sockets::everyone().broadcast_json(&game)
            }
            Err(complaint) => sender.tell(&Message::json(&complaint)?),
        }
    }

    fn timer(&mut self, timer: Timer) -> Result<()> {
        match timer.name.as_str() {
            CLOCK => {
                LOST.put(&Game::load()?.to_move)?;
                sockets::everyone().broadcast_json(&Game::load()?)
            }
            other => Err(Error::new(format!("no such timer: {other}"))),
        }
    }
}

impl Game {
    fn load() -> Result<Self> {
        let moves = MOVES.newest(9)?.into_iter().map(|entry| entry.value).collect::<Vec<_>>();
        let has_row = |player| ROWS.iter().any(|row| row.iter().all(|field| owner(&moves, *field) == Some(player)));
        let lost = LOST.get()?;
        let winner = lost.map(|player| 1 - player).or_else(|| (0..2).find(|player| has_row(*player)));
        Ok(Game { players: PLAYERS.get()?.unwrap_or_default(), to_move: moves.len() % 2, winner, moves })
    }

    fn is_over(&self) -> bool {
        self.winner.is_some() || self.moves.len() == 9
    }

    /// The field of a move that counts.
    fn judge(&self, user: &str, message: &Message) -> Result<usize, Complaint> {
        let field = match message {
            Message::Text(text) => text.parse().ok().filter(|field| *field < 9),
            Message::Binary(_) => None,
        };
        let field = field.ok_or(Complaint::new("no_field", "a move is a number from 0 to 8"))?;
        if self.is_over() {
            Err(Complaint::new("over", "the game is over"))
        } else if self.players.len() < 2 || self.players[self.to_move] != user {
            Err(Complaint::new("not_your_move", "somebody else is to move"))
        } else if self.moves.contains(&field) {
            Err(Complaint::new("taken", "that field is taken"))
        } else {
            Ok(field)
        }
    }
}

/// Whose field it is: moves take turns.
fn owner(moves: &[usize], field: usize) -> Option<usize> {
    moves.iter().position(|taken| *taken == field).map(|number| number % 2)
}
