//! Limits on simultaneous requests, on the bytes of their bodies, and on the bytes of answers that clients have not
//! read.
//!
//! Each has a limit for all, and shares for each user, address, connection, room and namespace, so that one client
//! cannot take the places of all others. Requests without an identity have a few places of their own: one address can
//! take a quarter of those, and a request with a token needs none.
//!
//! A service has larger shares than a user, and its requests do not count for its address.
//!
//! Event streams are not counted here. A user has at most `sockets_per_user` of them, and each holds at most twice
//! `socket_queue_bytes`: the room's queue for it, and the piece that is being sent.
//!
//! It knows no HTTP. `http` takes the shares in the order that its head lists.

use std::net::IpAddr;
use std::sync::Arc;

use super::shares::{Share, Shares};
use crate::config::Config;
use crate::edge::subject::Subject;
use crate::limit_hits::Limit;
use crate::limits::ANONYMOUS_REQUESTS_AN_ADDRESS;
use crate::model::Address;

/// All shares of one host.
pub(in crate::edge) struct Budget {
    requests: Arc<Shares<()>>,
    of_subjects: SubjectShares,
    of_addresses: Arc<Shares<IpAddr>>,
    of_rooms: Arc<Shares<Address>>,
    of_namespaces: Arc<Shares<String>>,
    anonymous: Arc<Shares<()>>,
    anonymous_of_addresses: Arc<Shares<IpAddr>>,
    bodies: Arc<Shares<()>>,
    bodies_of_subjects: SubjectShares,
    answers: Arc<Shares<()>>,
    answers_of_subjects: SubjectShares,
    answers_of_connections: Arc<Shares<u64>>,
}

/// Shares of users, and larger ones of services.
#[derive(Debug)]
struct SubjectShares {
    of_users: (Arc<Shares<RequesterId>>, Limit),
    of_services: (Arc<Shares<RequesterId>>, Limit),
}

/// The holder of a share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::edge) enum RequesterId {
    /// A user or a service.
    Subject(Subject),
    /// A client without an identity, by address.
    Address(IpAddr),
    /// A client without an identity, through a server that mounts the host.
    Unknown,
}

/// The sender of a request, and the connection that its answer goes to.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Requester {
    pub(in crate::edge) who: RequesterId,
    /// Absent if the host is mounted.
    pub(in crate::edge) address: Option<IpAddr>,
    /// The number of the connection; absent if the host is mounted.
    pub(in crate::edge) connection: Option<u64>,
}

/// The permit of one request; dropping it returns its places.
#[derive(Debug)]
pub(in crate::edge) struct Permit {
    _all: Share<()>,
    _user: Option<Share<RequesterId>>,
    _address: Option<Share<IpAddr>>,
    room: Option<(Share<Address>, Share<String>)>,
}

/// The bytes of one request's body.
#[derive(Debug)]
pub(in crate::edge) struct BodyBytes {
    all: Share<()>,
    user: Share<RequesterId>,
    /// The limit of the user's share.
    limit: Limit,
}

/// The bytes of one answer until it is sent.
#[derive(Debug)]
pub(in crate::edge) struct AnswerBytes {
    _all: Share<()>,
    _user: Share<RequesterId>,
    _connection: Option<Share<u64>>,
}

impl Budget {
    /// Reads the limits. With dev auth neither users nor addresses are counted.
    pub(in crate::edge) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let is_limited = !config.identity.is_dev();
        let per_holder = |max: usize| if is_limited { max } else { 0 };
        Budget {
            requests: Shares::of(limits.requests as usize),
            of_subjects: SubjectShares {
                of_users: (Shares::of(per_holder(limits.requests_per_user as usize)), Limit::RequestsPerUser),
                of_services: (Shares::of(per_holder(limits.service_requests as usize)), Limit::ServiceRequests),
            },
            of_addresses: Shares::of(per_holder(limits.requests_per_address as usize)),
            of_rooms: Shares::of(limits.requests_per_room as usize),
            of_namespaces: Shares::of(limits.requests_per_namespace as usize),
            anonymous: Shares::of(limits.anonymous_requests as usize),
            anonymous_of_addresses: Shares::of(per_holder(
                (limits.anonymous_requests / ANONYMOUS_REQUESTS_AN_ADDRESS).max(1) as usize,
            )),
            bodies: Shares::of(limits.request_bytes),
            bodies_of_subjects: SubjectShares {
                of_users: (Shares::of(per_holder(limits.request_bytes_per_user)), Limit::RequestBytesPerUser),
                of_services: (Shares::of(per_holder(limits.service_request_bytes)), Limit::ServiceRequestBytes),
            },
            answers: Shares::of(limits.answer_bytes),
            answers_of_subjects: SubjectShares {
                of_users: (Shares::of(per_holder(limits.answer_bytes_per_user)), Limit::AnswerBytesPerUser),
                of_services: (Shares::of(per_holder(limits.service_answer_bytes)), Limit::ServiceAnswerBytes),
            },
            answers_of_connections: Shares::of(limits.answer_bytes_per_connection),
        }
    }

    /// Takes a place for one more request, or returns the limit that it meets. A client that has not read its earlier
    /// answers gets no place.
    pub(in crate::edge) fn request(&self, requester: &Requester) -> Result<Permit, Limit> {
        if requester.connection.is_some_and(|connection| self.answers_of_connections.is_full(&connection)) {
            return Err(Limit::AnswerBytesPerConnection);
        }
        let (answers_of_subject, limit) = self.answers_of_subjects.of(&requester.who);
        if answers_of_subject.is_full(&requester.who) {
            return Err(limit);
        }
        if self.answers.is_full(&()) {
            return Err(Limit::AnswerBytes);
        }
        let RequesterId::Subject(subject) = &requester.who else { return self.anonymous_request(requester) };
        let (of_subject, limit) = self.of_subjects.of(&requester.who);
        let user = of_subject.take(&requester.who, 1).ok_or(limit)?;
        let address = requester.address.filter(|_| matches!(subject, Subject::User(_)));
        let address = address.map(|address| self.of_addresses.take(&address, 1).ok_or(Limit::RequestsPerAddress));
        let address = address.transpose()?;
        let all = self.requests.take(&(), 1).ok_or(Limit::Requests)?;
        Ok(Permit { _all: all, _user: Some(user), _address: address, room: None })
    }

    fn anonymous_request(&self, requester: &Requester) -> Result<Permit, Limit> {
        let take = |address| self.anonymous_of_addresses.take(&address, 1).ok_or(Limit::AnonymousRequests);
        let address = requester.address.map(take).transpose()?;
        let all = self.anonymous.take(&(), 1).ok_or(Limit::AnonymousRequests)?;
        Ok(Permit { _all: all, _user: None, _address: address, room: None })
    }

    /// Takes a place in a room for a request that has a permit, or returns the limit that it meets.
    pub(in crate::edge) fn enter_room(&self, permit: &mut Permit, room: &Address) -> Result<(), Limit> {
        let of_room = self.of_rooms.take(room, 1).ok_or(Limit::RequestsPerRoom)?;
        let namespace = room.namespace().to_owned();
        let of_namespace = self.of_namespaces.take(&namespace, 1).ok_or(Limit::RequestsPerNamespace)?;
        permit.room = Some((of_room, of_namespace));
        Ok(())
    }

    /// Starts counting the bytes of a body.
    pub(in crate::edge) fn body(&self, requester: &Requester) -> Result<BodyBytes, Limit> {
        let (of_subject, limit) = self.bodies_of_subjects.of(&requester.who);
        let user = of_subject.take(&requester.who, 0).ok_or(limit)?;
        let all = self.bodies.take(&(), 0).ok_or(Limit::RequestBytes)?;
        Ok(BodyBytes { all, user, limit })
    }

    /// Counts the bytes of an answer that wait for its client, or returns the limit that they meet.
    pub(in crate::edge) fn answer(&self, requester: &Requester, bytes: usize) -> Result<AnswerBytes, Limit> {
        let connection = requester.connection.map(|connection| {
            let part = self.answers_of_connections.take_one_at_least(&connection, bytes);
            part.ok_or(Limit::AnswerBytesPerConnection)
        });
        let connection = connection.transpose()?;
        let (of_subject, limit) = self.answers_of_subjects.of(&requester.who);
        let user = of_subject.take_one_at_least(&requester.who, bytes).ok_or(limit)?;
        let all = self.answers.take_one_at_least(&(), bytes).ok_or(Limit::AnswerBytes)?;
        Ok(AnswerBytes { _all: all, _user: user, _connection: connection })
    }
}

impl SubjectShares {
    /// The shares that a requester takes from, and the limit of each. Clients without an identity have those of users.
    fn of(&self, who: &RequesterId) -> (&Arc<Shares<RequesterId>>, Limit) {
        let (shares, limit) = match who {
            RequesterId::Subject(Subject::Service(_)) => &self.of_services,
            RequesterId::Subject(Subject::User(_)) | RequesterId::Address(_) | RequesterId::Unknown => &self.of_users,
        };
        (shares, *limit)
    }
}

impl BodyBytes {
    /// Counts bytes that were read, or returns the limit that they meet.
    pub(in crate::edge) fn grow(&mut self, bytes: usize) -> Result<(), Limit> {
        if !self.user.grow(bytes) {
            return Err(self.limit);
        }
        if !self.all.grow(bytes) {
            return Err(Limit::RequestBytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Identity, Limits};

    fn budget(auth: Auth, limits: Limits) -> Budget {
        Budget::new(&Config { identity: Identity { auth, ..Identity::default() }, limits, ..Config::default() })
    }

    fn user(id: &str, address: &str, connection: u64) -> Requester {
        let who = RequesterId::Subject(Subject::User(id.into()));
        Requester { who, address: Some(address.parse().unwrap()), connection: Some(connection) }
    }

    fn anonymous(address: &str) -> Requester {
        let address = address.parse().unwrap();
        Requester { who: RequesterId::Address(address), address: Some(address), connection: Some(0) }
    }

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    /// The permits that a requester gets, and the limit that the next one meets.
    fn take_all(budget: &Budget, requester: &Requester) -> (Vec<Permit>, Limit) {
        let mut permits = Vec::new();
        loop {
            match budget.request(requester) {
                Ok(permit) => permits.push(permit),
                Err(limit) => return (permits, limit),
            }
        }
    }

    #[test]
    fn users_and_addresses_leave_places_to_others() {
        let limits = Limits { requests: 10, requests_per_user: 2, requests_per_address: 3, ..Limits::default() };
        let budget = budget(Auth::Jwt, limits);
        let (ana, met) = take_all(&budget, &user("ana", "192.0.2.1", 1));
        assert_eq!((ana.len(), met), (2, Limit::RequestsPerUser));
        let (bo, met) = take_all(&budget, &user("bo", "192.0.2.1", 2));
        assert_eq!((bo.len(), met), (1, Limit::RequestsPerAddress));
        assert!(budget.request(&user("cy", "192.0.2.2", 3)).is_ok());
        drop(ana);
        assert!(budget.request(&user("ana", "192.0.2.1", 1)).is_ok());
    }

    #[test]
    fn anonymous_requests_take_no_place_of_a_user() {
        let limits = Limits { requests: 1, anonymous_requests: 8, ..Limits::default() };
        let budget = budget(Auth::Jwt, limits);
        let (permits, met) = take_all(&budget, &anonymous("192.0.2.1"));
        assert_eq!((permits.len(), met), (2, Limit::AnonymousRequests), "a quarter for each address");
        assert!(budget.request(&anonymous("192.0.2.2")).is_ok());
        assert!(budget.request(&user("ana", "192.0.2.1", 1)).is_ok());
    }

    #[test]
    fn rooms_and_namespaces_leave_places_to_others() {
        let limits = Limits { requests_per_room: 1, requests_per_namespace: 2, ..Limits::default() };
        let budget = budget(Auth::Dev, limits);
        let permits = std::array::from_fn::<_, 4, _>(|_| budget.request(&user("ana", "127.0.0.1", 1)).unwrap());
        let [mut one, mut two, mut three, mut four] = permits;
        assert_eq!(budget.enter_room(&mut one, &room("a")), Ok(()));
        assert_eq!(budget.enter_room(&mut two, &room("a")), Err(Limit::RequestsPerRoom));
        assert_eq!(budget.enter_room(&mut two, &room("b")), Ok(()));
        assert_eq!(budget.enter_room(&mut three, &room("c")), Err(Limit::RequestsPerNamespace));
        drop(one);
        assert_eq!(budget.enter_room(&mut four, &room("a")), Ok(()));
    }

    #[test]
    fn bodies_are_counted_as_they_arrive() {
        let limits = Limits { request_bytes: 30, request_bytes_per_user: 20, ..Limits::default() };
        let budget = budget(Auth::Jwt, limits);
        let mut ana = budget.body(&user("ana", "192.0.2.1", 1)).unwrap();
        assert_eq!(ana.grow(20), Ok(()));
        let mut again = budget.body(&user("ana", "192.0.2.1", 1)).unwrap();
        assert_eq!(again.grow(1), Err(Limit::RequestBytesPerUser));
        let mut bo = budget.body(&user("bo", "192.0.2.1", 2)).unwrap();
        assert_eq!((bo.grow(10), bo.grow(1)), (Ok(()), Err(Limit::RequestBytes)));
        drop(ana);
        assert_eq!(again.grow(20), Ok(()));
    }

    #[test]
    fn unread_answers_block_only_their_own_client() {
        let limits = Limits {
            answer_bytes: 100,
            answer_bytes_per_user: 50,
            answer_bytes_per_connection: 20,
            ..Limits::default()
        };
        let budget = budget(Auth::Jwt, limits);
        let ana = user("ana", "192.0.2.1", 1);
        let long = budget.answer(&ana, 40).expect("one may have any length");
        assert_eq!(budget.answer(&ana, 1).err(), Some(Limit::AnswerBytesPerConnection));
        assert_eq!(budget.request(&ana).err(), Some(Limit::AnswerBytesPerConnection));
        let elsewhere = user("ana", "192.0.2.1", 2);
        let _short = budget.answer(&elsewhere, 10).unwrap();
        assert_eq!(budget.request(&user("ana", "192.0.2.1", 3)).err(), Some(Limit::AnswerBytesPerUser));
        let bo = user("bo", "192.0.2.1", 4);
        assert!(budget.request(&bo).is_ok());
        let _rest = budget.answer(&bo, 50).unwrap();
        assert_eq!(budget.request(&user("cy", "192.0.2.1", 5)).err(), Some(Limit::AnswerBytes));
        drop(long);
        assert!(budget.request(&ana).is_ok());
    }

    #[test]
    fn dev_auth_counts_no_user() {
        let limits = Limits {
            requests: 4,
            requests_per_user: 1,
            requests_per_address: 1,
            request_bytes_per_user: 1,
            ..Limits::default()
        };
        let budget = budget(Auth::Dev, limits);
        let ana = user("ana", "127.0.0.1", 1);
        assert_eq!(take_all(&budget, &ana).0.len(), 4, "but there is a limit for all");
        assert_eq!(budget.body(&ana).unwrap().grow(2), Ok(()));
    }

    #[test]
    fn a_service_has_its_own_shares_apart_from_its_address() {
        let limits = Limits {
            requests: 10,
            requests_per_user: 1,
            requests_per_address: 1,
            service_requests: 3,
            request_bytes_per_user: 1,
            service_request_bytes: 4,
            answer_bytes_per_user: 1,
            service_answer_bytes: 4,
            ..Limits::default()
        };
        let budget = budget(Auth::Jwt, limits);
        let ana = user("ana", "192.0.2.1", 1);
        let service = Requester { who: RequesterId::Subject(Subject::Service("ana".into())), ..ana.clone() };
        let (permits, met) = take_all(&budget, &service);
        assert_eq!((permits.len(), met), (3, Limit::ServiceRequests));
        assert!(budget.request(&ana).is_ok(), "a user with its id and its address");
        let mut body = budget.body(&service).unwrap();
        assert_eq!((body.grow(4), body.grow(1)), (Ok(()), Err(Limit::ServiceRequestBytes)));
        let _first = budget.answer(&service, 3).unwrap();
        assert_eq!(budget.answer(&service, 2).err(), Some(Limit::ServiceAnswerBytes));
        let _second = budget.answer(&service, 1).unwrap();
        drop(permits);
        assert_eq!(budget.request(&service).err(), Some(Limit::ServiceAnswerBytes));
        assert!(budget.request(&ana).is_ok());
    }
}
