//! One file a command.
#![forbid(unsafe_code)]

pub mod apply;
pub mod approvals;
pub mod audit;
pub mod diff;
pub mod doctor;
pub mod key;
pub mod model;
pub mod policy;
pub mod run;
pub mod sandbox;
pub mod staged;
pub mod status;
pub mod stop;
pub mod undo;
pub mod watch;

use crate::console::screen;
use closedpaw_ledger::record::is_unsafe;

/// Prints one JSON document to standard output.
pub fn json(value: &serde_json::Value) {
    screen::out(&format!("{}\n", escaped(&format!("{value:#}"))));
}

/// JSON of the same meaning in which nothing acts on a terminal. A string is the only place for such characters (RFC 8259),
/// but for line ends between two values; control characters below U+0020 are escaped in it already.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_unsafe(c) {
            out.push(c);
        } else {
            let units =
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            out.push_str(&units);
        }
    }
    out
}

/// Prints a line for people to standard output; what others wrote in it is escaped.
pub fn line(text: &str) {
    screen::out(&format!("{}\n", screen::visible(text)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Row P4: for programs, too, which people read at terminals.
    #[test]
    fn nothing_in_json_acts_on_a_terminal_and_nothing_is_lost() {
        let hostile = "\u{1b}]52;c;AAAA\u{7}\u{9b}31m\u{7f}a\u{202e}b\u{200b}\u{e0041}\u{2028}\n\r\\ 名前 🦀";
        let value = json!({ "a": [hostile], hostile: 1 });
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = escaped(&text);
            assert!(shown.chars().all(|c| c == '\n' || !is_unsafe(c)), "{shown}");
            assert!(shown.contains("名前 🦀") && shown.contains(r"\u009b31m"), "{shown}");
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
        assert_eq!(escaped(&value.to_string()).lines().count(), 1);
    }
}
