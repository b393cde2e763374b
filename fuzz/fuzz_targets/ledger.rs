//! The log's verifier, heads and rendering on arbitrary bytes: a verdict, never a panic.
#![no_main]

use closedpaw_ledger::head::SignedHead;
use closedpaw_ledger::read::render_line;
use closedpaw_ledger::verify::Verifier;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut verifier) = Verifier::new(None, &[]) {
        if verifier.push(bytes).is_ok() {
            let _ = verifier.finish();
        }
    }
    let shown = render_line(bytes);
    assert!(!shown.chars().any(char::is_control));
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(head) = text.parse::<SignedHead>() {
            assert_eq!(head.to_string(), text);
        }
    }
});
