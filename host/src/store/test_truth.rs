//! A truth for tests, as if several nodes shared the rooms: it wants proofs, and statements wait until the test confirms
//! or refuses them. It keeps everything in memory, and checks the order of what it gets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use super::commit::{Commit, CommitListener, Proof, confirm, refuse};
use super::engine::{StorageEngine, StorageReader};
use super::error::{CommitError, NotOpened};
use super::inner::Inner;
use super::memory::MemoryEngine;
use super::options::StoreOptions;
use super::owner::Owner;
use super::truth::{Opening, TenureListener, Truth, Waits};
use super::{Receipt, Store};
use crate::clock::UnixMillis;
use crate::cluster::ownership::{Fence, NodeId, Tenure};
use crate::histogram::Counts;
use crate::lock::Lock;
use crate::model::{Address, StorageFailed};

/// A statement that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A commit, by its position and number.
    Commit(u64, u64),
    /// A proof, by its position.
    Proof(u64),
}

pub(crate) struct TestTruth {
    /// Opens and reads rooms.
    embedded: Arc<dyn Truth>,
    engine: Arc<MemoryEngine>,
    inner: Arc<Lock<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Statement>,
    /// Statements are confirmed as they come.
    confirms: bool,
    /// Rooms of another node.
    elsewhere: BTreeSet<Address>,
    /// The rooms that are open, and the last position and number that each has asked for.
    open: BTreeMap<u64, Open>,
    let_go: Vec<Address>,
    tenures: u64,
    proofs: usize,
}

struct Open {
    address: Address,
    tenure: Tenure,
    position: u64,
    number: u64,
    listener: Option<Arc<dyn TenureListener>>,
}

struct Statement {
    asked: Asked,
    records: Vec<super::Record>,
    receipt: Receipt,
    listener: Arc<dyn CommitListener>,
    owner: Arc<Owner>,
}

impl TestTruth {
    /// An empty store on such a truth.
    pub(crate) fn store() -> (Store, Arc<Self>) {
        let engine = Arc::new(MemoryEngine::default());
        let options = StoreOptions::default();
        let base = Store::on_engine(engine.clone(), options.clone()).expect("memory does not fail");
        let (inner, changed) = Default::default();
        let truth = Arc::new(TestTruth { embedded: base.0.truth.clone(), engine, inner, changed });
        let store = Store(Arc::new(Inner {
            local: base.0.local.clone(),
            truth: truth.clone(),
            directory: None,
            options,
            epoch: base.epoch(),
            incarnation: base.0.incarnation,
            secret: base.0.secret,
            owned: Arc::default(),
        }));
        (store, truth)
    }

    /// Waits until so many statements wait, and returns them in their order.
    pub(crate) async fn asked(&self, count: usize) -> Vec<Asked> {
        self.until(|state| state.waiting.len() >= count).await;
        self.inner.lock().waiting.iter().map(|statement| statement.asked).collect()
    }

    /// How many proofs were asked for until now.
    pub(crate) fn proofs(&self) -> usize {
        self.inner.lock().proofs
    }

    /// Waits until this room was let go.
    pub(crate) async fn until_let_go(&self, address: &Address) {
        self.until(|state| state.let_go.contains(address)).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(&self.inner.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Confirms the first of the statements that wait.
    pub(crate) fn confirm(&self, count: usize) {
        let confirmed = self.inner.lock().waiting.drain(..count).collect::<Vec<_>>();
        self.confirmed(confirmed);
    }

    /// Confirms all statements, now and from now on; or lets them wait again.
    pub(crate) fn confirm_all(&self, confirms: bool) {
        let waiting = {
            let mut state = self.inner.lock();
            state.confirms = confirms;
            if confirms { std::mem::take(&mut state.waiting) } else { VecDeque::new() }
        };
        self.confirmed(waiting);
    }

    fn confirmed(&self, statements: impl IntoIterator<Item = Statement>) {
        for Statement { records, receipt, listener, owner, .. } in statements {
            self.engine.write(records).expect("memory does not fail");
            drop(owner);
            confirm(vec![(receipt, listener)]);
        }
    }

    /// Another node takes the room: nothing that waits is confirmed.
    pub(crate) fn fence(&self, address: &Address) {
        let error = CommitError::Fenced { address: address.clone() };
        let (lost, listener) = {
            let mut state = self.inner.lock();
            state.elsewhere.insert(address.clone());
            let waiting = std::mem::take(&mut state.waiting).into_iter();
            let (lost, kept) = waiting.partition::<VecDeque<_>, _>(|it| it.owner.address() == address);
            state.waiting = kept;
            let room = state.open.iter().find(|(_, open)| open.address == *address).map(|(room, _)| *room);
            (lost, room.and_then(|room| state.open.remove(&room)).and_then(|open| open.listener))
        };
        lost.iter().for_each(|statement| refuse(&*statement.listener, &error));
        if let Some(listener) = listener {
            listener.ended(&error);
        }
    }

    /// The room belongs to another node before it is opened here.
    pub(crate) fn give_away(&self, address: &Address) {
        self.inner.lock().elsewhere.insert(address.clone());
    }

    /// The statements that wait get an error, as if the database had refused them.
    pub(crate) fn fail(&self) {
        let lost = std::mem::take(&mut self.inner.lock().waiting);
        let error = CommitError::Failed("the database refused it".into());
        lost.iter().for_each(|statement| refuse(&*statement.listener, &error));
    }

    fn take(&self, statement: Statement) {
        let confirms = {
            let mut state = self.inner.lock();
            let state = &mut *state;
            let Some(open) = state.open.get_mut(&statement.owner.room) else {
                let error = CommitError::Fenced { address: statement.owner.address().clone() };
                return refuse(&*statement.listener, &error);
            };
            assert_eq!(Some(open.tenure), statement.owner.tenure);
            match statement.asked {
                Asked::Commit(position, number) => {
                    assert_eq!(position, open.position + 1, "a position is left out");
                    (open.position, open.number) = (position, number);
                }
                // That of a call takes no position.
                Asked::Proof(position) => {
                    state.proofs += 1;
                    assert!(position <= open.position + 1, "a position is left out");
                    open.position = open.position.max(position);
                }
            }
            if !state.confirms {
                state.waiting.push_back(statement);
                None
            } else {
                Some(statement)
            }
        };
        self.confirmed(confirms);
        self.changed.notify_waiters();
    }
}

impl Truth for TestTruth {
    fn open(&self, address: &Address, listener: Option<Arc<dyn TenureListener>>) -> Opening {
        let (inner, address) = (self.inner.clone(), address.clone());
        if inner.lock().elsewhere.contains(&address) {
            return Opening::Done(Err(NotOpened::Elsewhere { address, node: NodeId(2) }));
        }
        let Opening::Done(opened) = self.embedded.open(&address, None) else {
            panic!("the embedded truth never waits")
        };
        Opening::Waits(Box::pin(async move {
            tokio::task::yield_now().await;
            let mut opened = opened?;
            let mut state = inner.lock();
            state.tenures += 1;
            let tenure = Tenure(Fence { epoch: state.tenures, token: state.tenures });
            let open = Open { address, tenure, position: 0, number: opened.record.number, listener };
            state.open.insert(opened.record.id, open);
            opened.tenure = Some(tenure);
            Ok(opened)
        }))
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let Some(owner) = commit.owner.clone() else { return self.embedded.commit(commit) };
        let Commit { records, base, receipt, listener, .. } = commit;
        if let Some(open) = self.inner.lock().open.get(&owner.room) {
            assert_eq!(base, open.number, "a commit is left out");
        }
        let asked = Asked::Commit(receipt.position(), receipt.number());
        self.take(Statement { asked, records, receipt, listener, owner });
        Ok(())
    }

    fn wants_proofs(&self) -> bool {
        true
    }

    fn prove(&self, proof: Proof) -> Result<(), CommitError> {
        let Proof { receipt, listener, owner, .. } = proof;
        let asked = Asked::Proof(receipt.position());
        self.take(Statement { asked, records: Vec::new(), receipt, listener, owner });
        Ok(())
    }

    fn let_go(&self, owner: &Owner) {
        let mut state = self.inner.lock();
        state.open.remove(&owner.room);
        state.let_go.push(owner.address().clone());
        drop(state);
        self.changed.notify_waiters();
    }

    fn read(&self, read: &mut dyn FnMut(&dyn StorageReader)) -> Result<(), StorageFailed> {
        self.embedded.read(read)
    }

    fn snapshot(&self) -> Result<Box<dyn StorageReader>, StorageFailed> {
        self.embedded.snapshot()
    }

    fn due(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
        self.embedded.due()
    }

    fn refuses(&self) -> Option<CommitError> {
        self.embedded.refuses()
    }

    fn has_space(&self) -> bool {
        self.embedded.has_space()
    }

    fn has_space_for(&self, bytes: u64) -> bool {
        self.embedded.has_space_for(bytes)
    }

    fn is_behind(&self) -> bool {
        self.embedded.is_behind()
    }

    fn caught_up(&self) -> Waits<'_, ()> {
        self.embedded.caught_up()
    }

    fn answers(&self) -> Waits<'_, Result<(), CommitError>> {
        self.embedded.answers()
    }

    fn register(&self, registry: &mut Registry) {
        self.embedded.register(registry);
    }

    fn commit_times(&self) -> Counts {
        self.embedded.commit_times()
    }

    fn close(&self) {
        self.embedded.close();
    }
}
