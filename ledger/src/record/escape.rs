//! What a text may not bring into the log: anything a terminal obeys or an eye cannot see.
//!
//! Such characters are written as `\u{…}` *in the text*, so that the line is safe to `cat`, and so is the
//! text after a JSON tool has decoded it. A backslash of the text itself is doubled: nothing that was logged
//! can pass for an escape, or for the mark of a cut.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// Whether a character may not stand in a line as it is.
///
/// Controls, everything of Unicode's `Default_Ignorable_Code_Point` and `Cf` (bidi controls, zero widths,
/// tags, variation selectors), separators other than the plain space, private use and non-characters.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() // C1
        || c.is_whitespace() // no-break and other spaces, U+2028, U+2029
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe // the last two of every plane
}

/// Escapes a text for people: what is returned is one line that a terminal shows as it stands.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c, "\\");
    }
    out
}

/// Appends a character as it stands in a JSON string of the log.
pub(super) fn push_json(out: &mut String, c: char) {
    if c == '"' {
        out.push('\\');
    }
    push(out, c, "\\\\");
}

/// Appends a character, with `backslash` as the spelling of one backslash.
fn push(out: &mut String, c: char, backslash: &str) {
    if c == '\\' {
        out.push_str(backslash);
        out.push_str(backslash);
    } else if is_unsafe(c) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{backslash}u{{{:x}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// Reads back what [`escape`] writes, up to the end or a backslash that begins neither of its two escapes:
/// the text, and what is left.
pub(super) fn unescape(text: &str) -> (String, &str) {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let Some((c, after)) = one_escape(escape) else { return (out, escape) };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    (out, "")
}

fn one_escape(text: &str) -> Option<(char, &str)> {
    if let Some(after) = text.strip_prefix("\\\\") {
        return Some(('\\', after));
    }
    let (digits, after) = text.strip_prefix("\\u{")?.split_once('}')?;
    let plain = digits.len() <= 6 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let code = if plain { u32::from_str_radix(digits, 16).ok()? } else { return None };
    Some((char::from_u32(code)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_or_an_eye_misses_is_escaped() {
        let unsafe_ones = "\0\r\n\t\x1b\x7f\u{85}\u{9b}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{17b4}\u{180e}\u{200b}\u{200c}\
            \u{200d}\u{200e}\u{200f}\u{202a}\u{202e}\u{2028}\u{2029}\u{2060}\u{2066}\u{2069}\u{206f}\u{2800}\u{3000}\
            \u{3164}\u{e000}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffe}\u{e0001}\u{e0041}\u{e007f}\u{e0100}\u{f0000}\u{10ffff}";
        for c in unsafe_ones.chars() {
            assert!(is_unsafe(c), "{c:?}");
            assert_eq!(escape(&c.to_string()), format!("\\u{{{:x}}}", u32::from(c)));
        }
    }

    #[test]
    fn letters_of_every_script_stay_readable() {
        let text = "naïve Größe Ελληνικά кириллица עברית عربي हिन्दी 中文 日本語 한국어 €→✓ 😀 \"quoted\"";
        assert_eq!(escape(text), text);
    }

    #[test]
    fn what_was_logged_cannot_pass_for_an_escape() {
        assert_eq!(escape("\\u{1b}"), "\\\\u{1b}");
        assert_eq!(unescape("\\\\u{1b}"), ("\\u{1b}".to_owned(), ""));
        assert_eq!(unescape("\\u{1b}"), ("\x1b".to_owned(), ""));
        for bad in ["\\", "\\n", "\\u", "\\u{", "\\u{}", "\\u{110000}", "\\u{d800}", "\\u{+1b}", "\\u{1B}"] {
            assert_eq!(unescape(bad), (String::new(), bad));
        }
    }

    proptest! {
        #[test]
        fn escapes_go_there_and_back(text: String) {
            let escaped = escape(&text);
            prop_assert!(!escaped.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&escaped), (text, ""));
        }

        #[test]
        fn any_text_can_be_unescaped(text in "(\\\\|u|\\{|\\}|[0-9a-f]|\\PC){0,40}") {
            let _ = unescape(&text);
        }
    }
}
