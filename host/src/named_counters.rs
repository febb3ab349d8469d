//! Counters by name, such as refusals by the limit that was met: for the metrics, and for those who ask for all names
//! that were counted. It does not know what is counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::lock::Lock;

/// Counters that share a metric, each with a name. The names are few and known in the code.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedCounters {
    family: Family<[(&'static str, &'static str); 1], Counter>,
    /// The labels that were counted: a family does not list them.
    seen: Arc<Lock<BTreeSet<(&'static str, &'static str)>>>,
}

impl NamedCounters {
    pub(crate) fn register(&self, registry: &mut Registry, metric: &'static str, help: &'static str) {
        registry.register(metric, help, self.family.clone());
    }

    /// Counts one event under a name. `label` is that of the metric.
    pub(crate) fn count(&self, label: &'static str, name: &'static str) {
        if let Some(counter) = self.family.get(&[(label, name)]) {
            counter.inc();
            return;
        }
        self.seen.lock().insert((label, name));
        self.family.get_or_create(&[(label, name)]).inc();
    }

    /// All names that were counted, with their counts; the highest first.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let seen = self.seen.lock().clone();
        let count = |label| self.family.get(&[label]).map_or(0, |counter| counter.get());
        let mut all = seen.into_iter().map(|label| (label.1, count(label))).collect::<Vec<_>>();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_with_their_counts() {
        let counters = NamedCounters::default();
        assert_eq!(counters.all(), []);
        for name in ["rooms", "sockets", "rooms"] {
            counters.count("limit", name);
        }
        assert_eq!(counters.all(), [("rooms", 2), ("sockets", 1)]);
    }
}
