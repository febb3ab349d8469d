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
    graph: &'a WaitGraph,
    waiter: Address,
}

impl WaitGraph {
    /// Adds an edge from `waiter` to `target`; absent if it would close a cycle.
    pub(super) fn begin(&self, waiter: &Address, target: &Address) -> Option<WaitEdge<'_>> {
        let mut graph = self.0.lock();
        let mut next = Some(target);
        while let Some(room) = next {
            if room == waiter {
                return None;
            }
            next = graph.get(room);
        }
        graph.insert(waiter.clone(), target.clone());
        Some(WaitEdge { graph: self, waiter: waiter.clone() })
    }
}

impl Drop for WaitEdge<'_> {
    fn drop(&mut self) {
        self.graph.0.lock().remove(&self.waiter);
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
        let graph = WaitGraph::default();
        let (a, b, c) = (room("a"), room("b"), room("c"));
        assert!(graph.begin(&a, &a).is_none());
        let a_for_b = graph.begin(&a, &b).unwrap();
        let _b_for_c = graph.begin(&b, &c).unwrap();
        assert!(graph.begin(&c, &a).is_none(), "a circle of three");
        drop(a_for_b);
        assert!(graph.begin(&c, &a).is_some());
    }
}
