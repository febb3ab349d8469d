//! Noughts and crosses: the first two users play, the others watch, and a player who takes too long loses.
//!
//! Shows a named timer: it limits the time for a move, and goes on while the room hibernates and while the server
//! restarts. A move is the number of a field, `0` to `8`.

use std::time::Duration;

use dormouse_room::json::Complaint;
use dormouse_room::storage::Value;
use dormouse_room::{Message, Refusal, Request, Result, Room, Socket, Timer, sockets, timers};
use serde::{Deserialize, Serialize};

const ROWS: [[usize; 3]; 8] = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
const TIME_FOR_A_MOVE: Duration = Duration::from_secs(30);
const CLOCK: &str = "clock";
const GAME: Value<Game> = Value::new("game");

/// The state that all clients see. Players are 0 and 1.
#[derive(Default, Serialize, Deserialize)]
struct Game {
    players: Vec<String>,
    moves: Vec<usize>,
    winner: Option<usize>,
}

struct Table;
dormouse_room::export!(Table);

impl Room for Table {
    fn wake() -> Result<Self> {
        Ok(Table)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        let mut game = GAME.get()?.unwrap_or_default();
        let user = socket.user().id;
        if game.players.len() < 2 && !game.players.contains(&user) {
            game.players.push(user);
        }
        Ok(game.show()?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let mut game = GAME.get()?.unwrap_or_default();
        let field = message.as_text().and_then(|text| text.parse().ok());
        if let Err(complaint) = game.play(&sender.user().id, field) {
            return sender.complain(&complaint.about(&message));
        }
        match game.is_over() {
            true => _ = timers::cancel(CLOCK),
            false => timers::set_after(CLOCK, TIME_FOR_A_MOVE, [])?,
        }
        game.show()
    }

    fn timer(&mut self, _clock: Timer) -> Result<()> {
        let mut game = GAME.get()?.unwrap_or_default();
        game.winner = Some(1 - game.to_move());
        game.show()
    }
}

impl Game {
    fn show(&self) -> Result<()> {
        GAME.put(self)?;
        sockets::everyone().broadcast_json(self)
    }

    fn play(&mut self, user: &str, field: Option<usize>) -> Result<(), Complaint> {
        let player = self.to_move();
        let field = field.filter(|field| *field < 9 && !self.moves.contains(field));
        let field = field.ok_or(Complaint::new("no_field", "a move is the number of a free field, 0 to 8"))?;
        if self.is_over() || self.players.len() < 2 || self.players[player] != user {
            return Err(Complaint::new("not_your_move", "the game is over, or it is not your turn"));
        }
        self.moves.push(field);
        let mine = self.moves.iter().skip(player).step_by(2).collect::<Vec<_>>();
        if ROWS.iter().any(|row| row.iter().all(|field| mine.contains(&field))) {
            self.winner = Some(player);
        }
        Ok(())
    }

    fn to_move(&self) -> usize {
        self.moves.len() % 2
    }

    fn is_over(&self) -> bool {
        self.winner.is_some() || self.moves.len() == 9
    }
}
