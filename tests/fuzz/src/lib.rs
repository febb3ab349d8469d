//! Checks a property against hostile inputs.
//!
//! In `cargo test` each fuzzer runs for about a second, always with the same inputs. `make fuzz` runs each for a
//! minute, with new inputs each time. A failure prints the smallest input that it found, and how to repeat it:
//!
//! ```text
//! FUZZ_SECONDS=60 FUZZ_SEED=42 cargo test …
//! ```
//!
//! proptest makes and shrinks the inputs, so no other compiler and no instrumented build is needed. Unlike
//! coverage-guided fuzzers it does not see which path an input takes, so a fuzzer of bytes starts with valid examples
//! and mutates them: [`mutated`].

use std::cell::Cell;
use std::env;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

pub use proptest;

/// Inputs between two checks of the time.
const CASES: u32 = 16;

/// Checks a property, which panics if it does not hold, for as long as `FUZZ_SECONDS` says.
///
/// Fails the test with the smallest input for which the property does not hold.
pub fn fuzz<S: Strategy>(inputs: S, property: impl Fn(S::Value)) {
    let seconds = variable("FUZZ_SECONDS").unwrap_or(1.0);
    let seed = variable("FUZZ_SEED").unwrap_or(0.0) as u64;
    let count = Cell::new(0_u64);
    let started_at = Instant::now();
    for seed in seed.. {
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters: 4_096,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(&inputs, |input| {
            count.set(count.get() + 1);
            property(input);
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, input)) => {
                panic!("{why}\nFUZZ_SEED={seed} finds it again at once; the smallest input: {input:?}")
            }
            Err(TestError::Abort(why)) => panic!("no inputs can be made: {why}"),
        }
        if started_at.elapsed() >= Duration::from_secs_f64(seconds) {
            break;
        }
    }
    println!("{} inputs in {:.1?}, from FUZZ_SEED={seed} on", count.get(), started_at.elapsed());
}

fn variable(name: &str) -> Option<f64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")))
}

/// A mutation of a valid example.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index, u8),
    /// Inserts a part of another example.
    InsertFrom(Index, Index, Index),
}

/// Valid examples with mutations: changed, removed and repeated bytes, and bytes of other examples.
pub fn mutated(examples: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let examples = examples.iter().map(|example| example.to_vec()).collect::<Vec<_>>();
    let mutation = prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(b'"'), Just(b'\\')])
            .prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        any::<(Index, Index)>().prop_map(|(from, to)| Mutation::Cut(from, to)),
        (any::<Index>(), any::<Index>(), 1..64_u8).prop_map(|(from, to, times)| Mutation::Repeat(from, to, times)),
        any::<(Index, Index, Index)>().prop_map(|(example, from, to)| Mutation::InsertFrom(example, from, to)),
    ];
    (any::<Index>(), vec(mutation, 0..8)).prop_map(move |(example, mutations)| {
        let mut bytes = example.get(&examples).clone();
        mutations.into_iter().for_each(|mutation| apply(&mut bytes, &examples, mutation));
        bytes
    })
}

fn apply(bytes: &mut Vec<u8>, examples: &[Vec<u8>], mutation: Mutation) {
    const MAX_BYTES: usize = 64 << 10;
    match mutation {
        Mutation::Flip(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Mutation::Set(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        Mutation::Insert(at, more) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, more);
        }
        Mutation::Cut(from, to) => {
            let range = between(bytes.len(), from, to);
            bytes.drain(range);
        }
        Mutation::Repeat(from, to, times) => {
            let range = between(bytes.len(), from, to);
            let part = bytes[range.clone()].repeat(usize::from(times));
            if bytes.len() + part.len() <= MAX_BYTES {
                bytes.splice(range.end..range.end, part);
            }
        }
        Mutation::InsertFrom(example, from, to) => {
            let other = example.get(examples);
            let part = other[between(other.len(), from, to)].to_vec();
            let at = from.index(bytes.len() + 1);
            bytes.splice(at..at, part);
        }
        Mutation::Flip(..) | Mutation::Set(..) => {}
    }
}

fn between(length: usize, one: Index, other: Index) -> std::ops::Range<usize> {
    let (one, other) = (one.index(length + 1), other.index(length + 1));
    one.min(other)..one.max(other)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_failing_input_is_found_and_minimized() {
        let hostile = |bytes: Vec<u8>| assert!(!bytes.contains(&0xff), "there it is");
        let found = catch_unwind(|| fuzz(mutated(&[b"a good example"]), hostile)).unwrap_err();
        let message = found.downcast_ref::<String>().unwrap();
        assert!(message.contains("there it is") && message.contains("FUZZ_SEED="), "{message}");
    }

    #[test]
    fn new_inputs_are_tried_until_the_time_is_over() {
        let seen = Cell::new(BTreeSet::new());
        fuzz(any::<u64>(), |number| {
            let mut numbers = seen.take();
            numbers.insert(number);
            seen.set(numbers);
        });
        assert!(seen.take().len() > 10 * CASES as usize);
    }

    #[test]
    fn unchanged_examples_are_tried_too() {
        let seen = Cell::new(false);
        let look = |bytes: Vec<u8>| seen.set(seen.get() || bytes == b"a good example");
        catch_unwind(AssertUnwindSafe(|| fuzz(mutated(&[b"a good example"]), look))).unwrap();
        assert!(seen.get());
    }
}
