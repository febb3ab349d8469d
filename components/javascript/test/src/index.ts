/** `@dormouse/test`: tests a room in the real engine. Start with `TestRoom.of`. */
export type { Build } from "./component.js";
export { TurnFailure } from "./driver.js";
export {
  type Answer,
  Client,
  type Joining,
  type OnCall,
  type Outgoing,
  type Permission,
  Refused,
  type Sent,
  TestRoom,
  type Timer,
  type User,
} from "./room.js";
