//! The bytes of the log: consecutive records, each with a number, a length and a checksum.
//!
//! The first record of a log holds the whole state at its start; each other record is a turn, with the next number. If
//! the owner was killed during a write, the last record is torn: it ends with the file, or only zeros follow it. Any
//! other invalid bytes are damage, and this module does not try to repair it.

use crate::state::Change;

/// The bytes of a record's header: length, the length's complement, checksum, number. The complement distinguishes a
/// damaged length that points beyond the end from a record that was cut off.
pub const HEADER_BYTES: usize = 20;

/// A parsed record of a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A complete record: its changes, and the offset of the next one.
    Record(Vec<Change>, usize),
    /// The end of the log.
    End,
    /// An incomplete record at the end of the log.
    Torn,
    /// Bytes that no owner wrote.
    Damaged,
}

/// The bytes of a record.
pub fn record(number: u64, changes: &[Change]) -> Vec<u8> {
    let payload = postcard::to_allocvec(changes).expect("changes are plain data");
    let length = u32::try_from(payload.len()).expect("a room is smaller than 4 GiB: wasm has no more memory");
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.extend(length.to_le_bytes());
    record.extend((!length).to_le_bytes());
    record.extend(checksum(number, &payload).to_le_bytes());
    record.extend(number.to_le_bytes());
    record.extend(payload);
    record
}

/// Reads the record at `offset`, which must have this number.
pub fn parse_record(log: &[u8], offset: usize, number: u64) -> Parsed {
    let rest = log.get(offset..).unwrap_or_default();
    let Some((header, after_header)) = rest.split_at_checked(HEADER_BYTES) else {
        return if rest.is_empty() { Parsed::End } else { Parsed::Torn };
    };
    let Some(Header { length, checksum: expected, number: found }) = Header::read(header) else {
        return if after_header.iter().all(|byte| *byte == 0) { Parsed::Torn } else { Parsed::Damaged };
    };
    let Some(payload) = after_header.get(..length) else { return Parsed::Torn };
    if found == number && checksum(number, payload) == expected {
        return match postcard::from_bytes(payload) {
            Ok(changes) => Parsed::Record(changes, offset + HEADER_BYTES + length),
            Err(_) => Parsed::Damaged,
        };
    }
    let is_last = after_header[length..].iter().all(|byte| *byte == 0);
    if is_last { Parsed::Torn } else { Parsed::Damaged }
}

/// The number and the length of the first record of a log, which is known to be complete. `None` if these bytes are not
/// the start of a record.
pub fn first_record_header(log: &[u8]) -> Option<(u64, usize)> {
    let header = Header::read(log.get(..HEADER_BYTES)?)?;
    Some((header.number, HEADER_BYTES + header.length))
}

struct Header {
    length: usize,
    checksum: u32,
    number: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let number = u64::from(word(12)) | u64::from(word(16)) << 32;
        (word(0) == !word(4)).then(|| Header { length: word(0) as usize, checksum: word(8), number })
    }
}

fn checksum(number: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(payload.len() as u32);
    hasher.update(&number.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(value: u8) -> Vec<Change> {
        vec![Change::Put(vec![value], vec![value; 50]), Change::Send("hi".into(), vec![1, 2])]
    }

    fn two_records() -> (Vec<u8>, usize) {
        let first = record(5, &changes(1));
        let at = first.len();
        ([first, record(6, &changes(2))].concat(), at)
    }

    #[test]
    fn records_are_read_in_sequence() {
        let (log, at) = two_records();
        assert_eq!(parse_record(&log, 0, 5), Parsed::Record(changes(1), at));
        assert_eq!(parse_record(&log, at, 6), Parsed::Record(changes(2), log.len()));
        assert_eq!(parse_record(&log, log.len(), 7), Parsed::End);
        assert_eq!(first_record_header(&log), Some((5, at)));
    }

    #[test]
    fn a_last_record_cut_at_any_byte_is_torn() {
        let (log, at) = two_records();
        for end in at + 1..log.len() {
            assert_eq!(parse_record(&log[..end], at, 6), Parsed::Torn, "{end}");
            let zeros = [&log[..end], &vec![0; log.len() - end]].concat();
            assert!(matches!(parse_record(&zeros, at, 6), Parsed::Torn | Parsed::Record(..)), "{end}");
        }
        assert_eq!(parse_record(&[&log[..], &[0; 4096]].concat(), log.len(), 7), Parsed::Torn);
    }

    #[test]
    fn any_change_in_the_middle_is_detected() {
        let (log, at) = two_records();
        for byte in 0..at {
            let mut log = log.clone();
            log[byte] ^= 0x10;
            assert_eq!(parse_record(&log, 0, 5), Parsed::Damaged, "{byte}");
        }
        assert_eq!(parse_record(&log, 0, 4), Parsed::Damaged);
    }
}
