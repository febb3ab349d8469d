//! Rules with one mistake each. They are made around the product's code: in the database, or between the product's
//! rules and the rest of the world. The simulation must find every one of them.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The rules as they are.
    Nothing,
    /// A commit needs only its number.
    FenceWithoutEpoch,
    /// A commit needs only its fence.
    FenceWithoutNumber,
    /// A claim changes the owner, and neither epoch nor token.
    ClaimKeepsFence,
    /// An unknown outcome is looked up, without a fence for the statement that may still run.
    ResolveReads,
    /// A statement without an answer has not happened.
    LostMeansNo,
    /// A warning is success.
    WarningMeansYes,
    /// The content is read while the claim is on its way.
    ReadBeforeClaim,
    /// A cache with the right number is right.
    CacheByNumber,
    /// A proof is a SELECT.
    PlainSelect,
    /// Turns that write nothing need no proof.
    NoProof,
    /// An edge passes on frames of tenures that have ended.
    OldTenuresLetIn,
    /// An edge follows the next owner at its first frame.
    NoHandedOver,
    /// A next owner sends its frames before the edge has asked for its sockets.
    NoHold,
    /// Two rounds of a room are in flight.
    TwoLanes,
    /// A resolve needs the owner and not the token of the tenure.
    ResolveByOwner,
    /// The fence of a read is not compared with the claim.
    ReadAnywhere,
    /// Rooms that say nothing are not proved.
    NoCheckOfIdleRooms,
}
