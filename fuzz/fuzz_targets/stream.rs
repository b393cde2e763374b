//! Frames, stream headers, exits, grants and records: exactly what they are or refused.
#![no_main]

use closedpaw_protocol::relay::{Grant, Record};
use closedpaw_protocol::{frame, stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<4>() {
        if let Ok(length) = frame::length(*header) {
            assert!((1..=frame::MAX_FRAME).contains(&length));
        }
    }
    if let Some(header) = bytes.first_chunk::<5>() {
        if let Ok((_, length)) = stream::parse_header(*header) {
            assert!(length <= stream::MAX_PAYLOAD);
        }
    }
    if let Ok(exit) = stream::Exit::from_bytes(bytes) {
        assert_eq!(exit.to_bytes().as_slice(), bytes);
    }
    if let Ok(grant) = Grant::from_bytes(bytes) {
        assert_eq!(grant.to_bytes().as_slice(), bytes);
    }
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(record.to_bytes().as_slice(), bytes);
    }
});
