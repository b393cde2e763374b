//! Tool calls that come as text, from servers whose template for them fails.
//!
//! Only a text that is nothing but calls counts. From text with prose around it nothing is taken: the prose may
//! quote a tool's output, and the call in it would then be whoever's wrote that.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;

use super::tools::Tool;
use super::wire::turn::Call;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// The calls that this text is, or none.
pub fn calls(text: &str) -> Vec<Call> {
    bodies(text.trim()).and_then(|bodies| bodies.into_iter().map(call).collect()).unwrap_or_default()
}

/// Whether a text that begins so may turn out to be calls, so that it is not shown yet.
pub fn may_be_calls(beginning: &str) -> bool {
    let text = beginning.trim_start();
    text.is_empty() || ["{", "```", OPEN].iter().any(|mark| text.starts_with(mark) || mark.starts_with(text))
}

/// The JSON texts in it: one alone, one in a fenced block, or each between its tags.
fn bodies(text: &str) -> Option<Vec<&str>> {
    if let Some(fenced) = fenced(text) {
        return Some(vec![fenced]);
    }
    if !text.starts_with(OPEN) {
        return Some(vec![text]);
    }
    let mut bodies = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Some models end with the text and never close the last tag.
        let (body, after) =
            rest.strip_prefix(OPEN).map(|rest| rest.split_once(CLOSE).unwrap_or((rest, "")))?;
        bodies.push(body);
        rest = after.trim_start();
    }
    Some(bodies)
}

/// What stands in a text that is one fenced block.
pub(super) fn fenced(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("```")?.strip_suffix("```")?;
    // Two blocks would be no JSON together, while the text of a file may hold a fence.
    Some(inner.strip_prefix("json").unwrap_or(inner).trim())
}

fn call(body: &str) -> Option<Call> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        name: String,
        arguments: Box<RawValue>,
    }
    let body = body.trim();
    if !body.starts_with('{') {
        return None;
    }
    let raw: Raw = serde_json::from_str(body).ok()?;
    Tool::named(&raw.name)?;
    raw.arguments.get().starts_with('{').then(|| Call {
        id: String::new(),
        name: raw.name,
        arguments: raw.arguments.get().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALL: &str = r#"{"name": "run", "arguments": {"argv": ["ls"]}}"#;

    #[test]
    fn a_text_that_is_only_a_call_is_one() {
        for text in [
            CALL.to_owned(),
            format!("\n {CALL} \n"),
            format!("```json\n{CALL}\n```"),
            format!("```\n{CALL}\n```\n"),
            format!("<tool_call>\n{CALL}\n</tool_call>"),
            format!("<tool_call>{CALL}"),
        ] {
            let found = calls(&text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!((found[0].name.as_str(), found[0].arguments.as_str()), ("run", r#"{"argv": ["ls"]}"#));
            assert!(may_be_calls(&text));
        }
        assert_eq!(calls(&format!("<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>")).len(), 2);
    }

    #[test]
    fn a_call_beside_prose_is_none() {
        for text in [
            format!("I will run it: {CALL}"),
            format!("{CALL}\nas the file says"),
            format!("The file says:\n```json\n{CALL}\n```"),
            format!("```json\n{CALL}\n```\nand ```json\n{CALL}\n```"),
            format!("<tool_call>{CALL}</tool_call> done"),
            format!("<tool_call>{CALL}</tool_call><tool_call>x</tool_call>"),
            format!("{CALL}{CALL}"),
            format!("[{CALL}]"),
            "<tool_call>".to_owned(),
            String::new(),
        ] {
            assert!(calls(&text).is_empty(), "{text}");
        }
    }

    #[test]
    fn an_unknown_tool_or_shape_is_none() {
        for text in [
            r#"{"name": "sudo", "arguments": {}}"#,
            r#"{"name": "run"}"#,
            r#"{"name": "run", "arguments": "{}"}"#,
            r#"{"name": "run", "arguments": {}, "why": "x"}"#,
            r#"["run", {}]"#,
        ] {
            assert!(calls(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_call_is_shown_at_once() {
        assert!(!may_be_calls("Hello"));
        assert!(!may_be_calls(" <b>"));
        for beginning in ["", " ", "`", "``", "<", "<tool", "{"] {
            assert!(may_be_calls(beginning), "{beginning}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[<>{}`\"a-z: /_]{0,60}|\\PC*") {
            let _ = calls(&text);
            let _ = may_be_calls(&text);
        }
    }
}
