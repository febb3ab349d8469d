//! Noughts and crosses: the first two users play, the others watch, and a player who takes too long loses.
//!
//! Shows a named timer: it limits the time for a move, and goes on while the room hibernates and while the server
//! restarts. A move is the number of a field, `0` to `8`.

use std::time::Duration;

use dormouse_room::json::ClientError;
use dormouse_room::storage::Value;
use dormouse_room::{Message, Refusal, Request, Result, Room, Socket, Timer, sockets, timers};
use serde::{Deserialize, Serialize};

const LINES: [[usize; 3]; 8] = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
const MOVE_TIMEOUT: Duration = Duration::from_secs(30);
const MOVE_TIMER: &str = "move";
const GAME: Value<Game> = Value::new("game");

/// The state that all clients see. Players are 0 and 1.
#[derive(Default, Serialize, Deserialize)]
struct Game {
    players: Vec<String>,
    moves: Vec<usize>,
    winner: Option<usize>,
}

struct GameRoom;
dormouse_room::export!(GameRoom);

impl Room for GameRoom {
    fn wake() -> Result<Self> {
        Ok(GameRoom)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        let mut game = GAME.get()?.unwrap_or_default();
        let user = socket.user().id;
        if game.players.len() < 2 && !game.players.contains(&user) {
            game.players.push(user);
        }
        Ok(game.save_and_broadcast()?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let mut game = GAME.get()?.unwrap_or_default();
        let field = message.as_text().and_then(|text| text.parse().ok());
        if let Err(error) = game.play(&sender.user().id, field) {
            return sender.send_error(&error.for_message(&message));
        }
        match game.is_over() {
            true => _ = timers::cancel(MOVE_TIMER),
            false => timers::set_after(MOVE_TIMER, MOVE_TIMEOUT, [])?,
        }
        game.save_and_broadcast()
    }

    fn timer(&mut self, _timer: Timer) -> Result<()> {
        let mut game = GAME.get()?.unwrap_or_default();
        game.winner = Some(1 - game.to_move());
        game.save_and_broadcast()
    }
}

impl Game {
    fn save_and_broadcast(&self) -> Result<()> {
        GAME.put(self)?;
        sockets::everyone().broadcast_json(self)
    }

    fn play(&mut self, user: &str, field: Option<usize>) -> Result<(), ClientError> {
        let player = self.to_move();
        let field = field.filter(|field| *field < 9 && !self.moves.contains(field));
        let field = field.ok_or(ClientError::new("no_field", "a move is the number of a free field, 0 to 8"))?;
        if self.is_over() || self.players.len() < 2 || self.players[player] != user {
            return Err(ClientError::new("not_your_move", "the game is over, or it is not your turn"));
        }
        self.moves.push(field);
        let own = self.moves.iter().skip(player).step_by(2).collect::<Vec<_>>();
        if LINES.iter().any(|line| line.iter().all(|field| own.contains(&field))) {
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
