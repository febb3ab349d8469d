//! Finds rooms that would wait for each other for ever.

use std::collections::HashMap;

use crate::lock::Lock;
use crate::model::Address;

/// The wait graph: which room waits for which. A room waits for one other at a time, so following the edges finds a
/// cycle.
#[derive(Default)]
pub(super) struct WaitGraph(Lock<HashMap<Address, Address>>);

/// One edge of the graph; dropping it ends the wait.
pub(super) struct WaitEdge<'a> {
    waits: &'a WaitGraph,
    who: Address,
}

impl WaitGraph {
    /// Adds an edge from `who` to `whom`; absent if it would close a cycle.
    pub(super) fn begin(&self, who: &Address, whom: &Address) -> Option<WaitEdge<'_>> {
        let mut waits = self.0.lock();
        let mut next = Some(whom);
        while let Some(room) = next {
            if room == who {
                return None;
            }
            next = waits.get(room);
        }
        waits.insert(who.clone(), whom.clone());
        Some(WaitEdge { waits: self, who: who.clone() })
    }
}

impl Drop for WaitEdge<'_> {
    fn drop(&mut self) {
        self.waits.0.lock().remove(&self.who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    #[test]
    fn waits_in_a_circle_are_refused() {
        let waits = WaitGraph::default();
        let (a, b, c) = (room("a"), room("b"), room("c"));
        assert!(waits.begin(&a, &a).is_none());
        let a_for_b = waits.begin(&a, &b).unwrap();
        let _b_for_c = waits.begin(&b, &c).unwrap();
        assert!(waits.begin(&c, &a).is_none(), "a circle of three");
        drop(a_for_b);
        assert!(waits.begin(&c, &a).is_some());
    }
}
