//! Checks the messages that a listener received of one sender: all of them, once, in order. Pure, so that it can be
//! tested.

/// The content of a message: its sender, its number and its time.
pub(super) fn line(sender: usize, number: u64, nanos: u64, bytes: usize) -> String {
    let mut line = format!("{sender} {number} {nanos} ");
    line.extend(std::iter::repeat_n('.', bytes.saturating_sub(line.len())));
    line
}

/// Parses such a line out of a `message` frame.
pub(super) fn parts(frame: &str) -> Option<(usize, u64, u64)> {
    const CONTENT: &str = r#""content":""#;
    // A quote inside a string would be escaped, so this can only be the field.
    let content = &frame[frame.find(CONTENT)? + CONTENT.len()..];
    let mut parts = content.splitn(4, ' ');
    let mut number = || parts.next()?.parse::<u64>().ok();
    Some((usize::try_from(number()?).ok()?, number()?, number()?))
}

/// The received numbers of one sender, which should be 1, 2, 3 and so on.
#[derive(Debug, Default, Clone)]
pub(super) struct Sequence {
    /// The highest number received.
    last: u64,
    /// Lower numbers that were not received.
    missing: Vec<u64>,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
}

impl Sequence {
    pub(super) fn receive(&mut self, number: u64) {
        if number == self.last + 1 {
            self.last = number;
        } else if number > self.last {
            self.missing.extend(self.last + 1..number);
            self.last = number;
        } else if let Some(index) = self.missing.iter().position(|missing| *missing == number) {
            self.missing.swap_remove(index);
            self.out_of_order += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// How many of `sent` messages were never received.
    pub(super) fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(numbers: &[u64]) -> Sequence {
        let mut sequence = Sequence::default();
        numbers.iter().for_each(|number| sequence.receive(*number));
        sequence
    }

    fn faults(sequence: &Sequence, sent: u64) -> (u64, u64, u64) {
        (sequence.lost(sent), sequence.duplicated, sequence.out_of_order)
    }

    #[test]
    fn complete_and_ordered_deliveries_have_no_faults() {
        assert_eq!(faults(&received(&[1, 2, 3]), 3), (0, 0, 0));
    }

    #[test]
    fn a_gap_and_a_missing_end_are_losses() {
        assert_eq!(faults(&received(&[1, 4]), 6), (4, 0, 0));
    }

    #[test]
    fn duplicates_and_late_lines_are_distinguished() {
        assert_eq!(faults(&received(&[1, 2, 2, 4, 3]), 4), (0, 1, 1));
    }

    #[test]
    fn a_line_is_read_back_from_the_frame_that_carries_it() {
        let frame = format!(r#"{{"type":"message","message":{{"content":"{}","seq":1}}}}"#, line(3, 17, 99, 64));
        assert_eq!(parts(&frame), Some((3, 17, 99)));
        assert_eq!(line(3, 17, 99, 64).len(), 64);
        assert_eq!(parts(r#"{"type":"typing","userId":"a"}"#), None);
    }
}
