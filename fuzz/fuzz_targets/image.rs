//! What the worker for images reads: a tar ends, its names lead nowhere, and a packet is what it is or none.
#![no_main]

use closedpaw_images::tar::Tar;
use closedpaw_images::tree::Place;
use closedpaw_protocol::image::{BOUNDS, Pinned, SAID, Said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut tar = Tar::new(bytes, &BOUNDS);
    let mut entries = 0usize;
    while let Ok(Some(entry)) = tar.entry() {
        entries += 1;
        assert!(entries <= bytes.len() / 512, "each entry has a block of its own");
        if let Ok(place) = Place::parse(&entry.path, &BOUNDS) {
            if let Some((parent, name)) = place.split() {
                let harmless = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&b'/') && !part.contains(&0);
                assert!(harmless(name) && parent.iter().all(|part| harmless(part)));
            }
        }
    }
    if let Some(packet) = bytes.first_chunk::<SAID>() {
        if let Ok(said) = Said::from_bytes(packet) {
            assert_eq!(&said.to_bytes(), packet);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(pinned) = text.parse::<Pinned>() {
            assert_eq!(pinned.to_string(), text);
        }
    }
});
