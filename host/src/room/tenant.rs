//! Tells an open room that another node owns it now or shall own it, even if the room sleeps and nothing of it is being
//! committed. A store whose rooms several nodes share calls this.

use std::sync::{Arc, Weak};

use super::mailbox::Mailbox;
use super::shared::Shared;
use crate::store::{CommitError, TenureListener};

/// One opening of a room, as its store sees it.
pub(super) struct Tenant {
    mailbox: Weak<Mailbox>,
    shared: Weak<Shared>,
}

impl Tenant {
    pub(super) fn of(mailbox: &Arc<Mailbox>, shared: &Arc<Shared>) -> Arc<dyn TenureListener> {
        Arc::new(Tenant { mailbox: Arc::downgrade(mailbox), shared: Arc::downgrade(shared) })
    }
}

impl TenureListener for Tenant {
    fn ended(&self, error: &CommitError) {
        if let (Some(mailbox), Some(shared)) = (self.mailbox.upgrade(), self.shared.upgrade()) {
            mailbox.tenure_ended(&shared, error);
        }
    }

    fn pause(&self) {
        if let (Some(mailbox), Some(shared)) = (self.mailbox.upgrade(), self.shared.upgrade()) {
            mailbox.pause(&shared);
        }
    }

    fn resume(&self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.go_on();
        }
    }
}
