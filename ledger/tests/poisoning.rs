//! What was logged never breaks the line it is in, the log, or the terminal it is shown on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use closedpaw_ledger::read::{parse, render, render_line};
use closedpaw_ledger::record::{
    Cut, Entry, Fields, Intent, Kind, LINE_MAX, Record, Stamp, TEXT_MAX, Text, Value, Verdict, is_unsafe,
};
use proptest::prelude::*;

/// The text of each field, in order.
const NAMES: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

fn line(fields: Fields) -> String {
    Record::new(7, Stamp::next(0, 1_795_397_025_678), Kind::Intent, fields).line()
}

/// What must hold of every line, whatever is in it.
fn assert_safe(line: &str) {
    assert!(line.len() <= LINE_MAX, "{} bytes", line.len());
    assert!(!line.bytes().any(|b| b < 0x20 || b == 0x7f), "{line:?}");
    assert!(!line.chars().any(is_unsafe), "{line:?}");
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&json["seq"], &json["kind"]), (&7.into(), &"intent".into()));
    // Nor after a JSON tool has decoded it.
    fn decoded(json: &serde_json::Value) -> bool {
        match json {
            serde_json::Value::String(text) => !text.chars().any(is_unsafe),
            serde_json::Value::Array(list) => list.iter().all(decoded),
            serde_json::Value::Object(map) => map.values().all(decoded),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => true,
        }
    }
    assert!(decoded(&json), "{json:?}");
    let mut verifier = closedpaw_ledger::verify::Verifier::new(None, &[]).unwrap();
    let first = line.replacen("\"seq\":7", "\"seq\":0", 1);
    assert_eq!(verifier.push_line(first.as_bytes()), Ok(()), "{line}");
    let shown = render(&parse(line.as_bytes()).unwrap());
    assert!(!shown.chars().any(is_unsafe), "{shown:?}");
}

/// Headers of 15 KB as an attacker sends them.
fn headers() -> Vec<String> {
    let fill = |text: &str| {
        text.chars().cycle().take(15_000 / text.chars().count() * text.chars().count()).collect()
    };
    let mut headers: Vec<String> = [
        "\r\n{\"seq\":8,\"time\":\"2026-11-23T01:23:46.000Z\",\"kind\":\"answered\",\"answer\":\"approved\"}\r\n",
        "\"}\n{\"seq\":8,\"time\":\"2026-11-23T01:23:46.000Z\",\"kind\":\"stopped\"}",
        "\x1b[2J\x1b[1;1H\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIC8=\x07\x1bP$q\x1b\\",
        "\u{9b}31mred\u{9d}0;title\u{9c}",
        "\u{202e}gpj.exe\u{202c}\u{2066}x\u{2069}\u{200f}\u{061c}",
        "\u{200b}\u{200d}\u{feff}\u{2060}\u{ad}\u{e0041}\u{e007f}\u{fe0f}",
        "\u{2028}\u{2029}\u{85}\u{b}\u{c}\0",
        "\\\\\"\\\"\\u0000\\u{1b}\\n",
        "\\cut{15000,0000000000000000000000000000000000000000000000000000000000000000}",
        "</script><script>alert(1)</script>'; DROP TABLE audit;-- %s%n {{7*7}} ${jndi:ldap://x}",
        "\u{10ffff}\u{fffe}\u{e000}",
    ]
    .into_iter()
    .map(fill)
    .collect();
    headers.push("\r\n".to_owned());
    headers
}

/// Each hostile text in each field alone, and in all of them at once.
#[test]
fn hostile_headers_make_one_record_escaped_and_cut() {
    for header in headers() {
        for name in NAMES {
            let fields = NAMES.into_iter().fold(Fields::new(), |fields, other| {
                fields.with(other, Value::text(if other == name { header.as_str() } else { "plain" }))
            });
            let line = line(fields);
            assert_safe(&line);
            let parsed = parse(line.as_bytes()).unwrap();
            assert_eq!(parsed.fields.len(), NAMES.len());
            for (known, value) in &parsed.fields {
                let Value::Text(text) = value else { panic!("{value:?}") };
                if known == name {
                    assert!(header.starts_with(&text.start));
                    if header.len() > TEXT_MAX {
                        assert_eq!(text.cut, Some(cut_of(&header)));
                    }
                } else {
                    assert_eq!(text, &Text::from("plain"));
                }
            }
        }
        assert_safe(&line(
            NAMES.into_iter().fold(Fields::new(), |f, name| f.with(name, Value::text(header.as_str()))),
        ));
        let list = Value::list(vec![header.as_str(); 100]);
        let pairs = Value::pairs(vec![(header.as_str(), header.as_str()); 100]);
        assert_safe(&line(Fields::new().with("alpha", list).with("beta", pairs)));
    }
}

fn cut_of(text: &str) -> Cut {
    Cut { len: text.len() as u64, blake3: *blake3::hash(text.as_bytes()).as_bytes() }
}

/// Whoever fills the arguments does not push out the verdict.
#[test]
fn a_large_field_does_not_push_out_the_others() {
    for header in headers() {
        let intent = Intent {
            session: [9; 16],
            uid: 1000,
            key: "agent".into(),
            action: vec![(header.clone(), header.clone()); 500],
            digest: [8; 32],
            verdict: Verdict::Deny,
            rule: "default".into(),
            policy: "7".into(),
            label: header.clone(),
            approval: Some("question 3".into()),
        };
        let line = line(intent.fields());
        assert_safe(&line);
        let parsed = parse(line.as_bytes()).unwrap();
        let text = |text: &str| Some(Value::text(text));
        assert_eq!(parsed.get("digest").cloned(), text(&"08".repeat(32)));
        assert_eq!(parsed.get("verdict").cloned(), text("deny"));
        assert_eq!(parsed.get("rule").cloned(), text("default"));
        assert_eq!(parsed.get("approval").cloned(), text("question 3"));
        let Some(Value::Pairs(pairs)) = parsed.get("action") else { panic!("{parsed:?}") };
        let cut = pairs.last().unwrap().1.cut.unwrap();
        assert!(pairs.len() < 500);
        if header.len() > TEXT_MAX {
            assert_eq!(cut.len, 500, "how many there were");
        }
    }
}

#[test]
fn a_text_is_cut_only_when_it_has_to_be() {
    let fits = "x".repeat(TEXT_MAX);
    let parsed = parse(line(Fields::new().with("alpha", Value::text(fits.as_str()))).as_bytes()).unwrap();
    assert_eq!(parsed.get("alpha"), Some(&Value::text(fits.as_str())));
    let over = fits + "y";
    let parsed = parse(line(Fields::new().with("alpha", Value::text(over.as_str()))).as_bytes()).unwrap();
    let expected = Text { start: over[..TEXT_MAX].to_owned(), cut: Some(cut_of(&over)) };
    assert_eq!(parsed.get("alpha"), Some(&Value::Text(expected)));
}

#[test]
fn a_character_is_never_cut_in_half() {
    for n in TEXT_MAX - 16..=TEXT_MAX {
        for tail in ["é", "中", "😀", "\u{10ffff}", "\\", "\""] {
            assert_safe(&line(
                Fields::new().with("alpha", Value::text("x".repeat(n) + tail + &"z".repeat(200))),
            ));
        }
    }
}

#[test]
fn fields_beyond_the_bound_are_counted() {
    const MANY: [&str; 40] = [
        "a00", "a01", "a02", "a03", "a04", "a05", "a06", "a07", "a08", "a09", "a10", "a11", "a12", "a13",
        "a14", "a15", "a16", "a17", "a18", "a19", "a20", "a21", "a22", "a23", "a24", "a25", "a26", "a27",
        "a28", "a29", "a30", "a31", "a32", "a33", "a34", "a35", "a36", "a37", "a38", "a39",
    ];
    let fields =
        MANY.into_iter().fold(Fields::new(), |fields, name| fields.with(name, Value::text("x".repeat(9999))));
    let line = line(fields);
    assert_safe(&line);
    let parsed = parse(line.as_bytes()).unwrap();
    assert_eq!(parsed.fields.len(), 33);
    assert_eq!(parsed.get("fields_cut"), Some(&Value::Number(8)));
}

/// The room there is gets used: twenty large texts share it evenly.
#[test]
fn large_fields_share_the_room() {
    const TWENTY: [&str; 20] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
    let text = "x".repeat(5000);
    let fields =
        TWENTY.into_iter().fold(Fields::new(), |fields, name| fields.with(name, Value::text(text.as_str())));
    let line = line(fields);
    assert_safe(&line);
    assert!(line.len() > LINE_MAX * 9 / 10, "{} bytes", line.len());
    let kept: Vec<usize> = parse(line.as_bytes())
        .unwrap()
        .fields
        .into_iter()
        .map(|(_, value)| match value {
            Value::Text(text) => text.start.len(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Pairs(_)) => {
                panic!("{other:?}")
            }
        })
        .collect();
    assert!(kept.iter().all(|n| *n == kept[0]), "{kept:?}");
}

/// Reading takes logs from anywhere: what no daemon wrote is refused or shown escaped.
#[test]
fn a_line_that_no_daemon_wrote_is_shown_safely_or_refused() {
    let with = |rest: &str| format!(r#"{{"seq":0,"time":"2026-11-23T01:23:45.678Z","kind":"stop"{rest}}}"#);
    let evil = with(r#","\u001b[31m":"\u202e \r\n","b":["\u001b"],"c":[["\u001b","\u0000"]]"#);
    let shown = render_line(evil.as_bytes());
    assert!(shown.contains(r"\u{1b}[31m") && !shown.chars().any(is_unsafe), "{shown}");
    for refused in [
        r#","a":1,"a":2"#,
        r#","kind":"started""#,
        r#","a":null"#,
        r#","a":-1"#,
        r#","a":1.5"#,
        r#","a":{}"#,
        r#","a":[1]"#,
        r#","a":[["x"]]"#,
        r#","a":[["x","y","z"]]"#,
        r#","a":["x",["y","z"]]"#,
        r#","a":"\\n""#,
    ] {
        assert!(parse(with(refused).as_bytes()).is_err(), "{refused}");
    }
}

#[test]
fn a_record_reads_as_a_person_would_write_it() {
    let fields = Fields::new()
        .with("uid", Value::Number(1000))
        .with("ok", Value::Bool(true))
        .with("rule", Value::text("ask \"web\" uid=0"))
        .with("who", Value::text("Jürgen\x1b[0m"))
        .with("args", Value::list(["ls", "-l", ""]))
        .with("action", Value::pairs([("verb", "exec"), ("path", "/bin/ls x")]));
    assert_eq!(
        render_line(line(fields).as_bytes()),
        "7 2026-11-23 01:23:45.678Z intent uid=1000 ok=yes rule=\"ask \\\"web\\\" uid=0\" \
         who=\"Jürgen\\u{1b}[0m\" args=[ls -l \"\"] action=[verb=exec path=\"/bin/ls x\"]"
    );
    assert_eq!(render_line(b"\x1b[31m\xff{"), "not a record (the line is not UTF-8): \\u{1b}[31m\u{fffd}{");
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x20\"\\\\{}a\u{80}-\u{a0}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{e0000}-\u{e007f}]{0,300}",
        "\\PC{0,2000}",
        prop::sample::select(headers()),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Number),
        any_text().prop_map(Value::text),
        prop::collection::vec(any_text(), 0..20).prop_map(Value::list),
        prop::collection::vec((any_text(), any_text()), 1..20).prop_map(Value::pairs),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| Value::hex(&bytes)),
        // Many small members: what is cut is the list.
        prop::collection::vec("[a\"\\\\]{0,3}", 0..6000).prop_map(Value::list),
    ]
}

/// Whether `read` is `written` or what cutting leaves of it.
fn is_beginning(read: &Value, written: &Value) -> bool {
    let text = |read: &Text, written: &Text| match read.cut {
        None => read == written,
        Some(cut) => written.start.starts_with(&read.start) && cut == cut_of(&written.start),
    };
    let marks =
        |mark: &Text, len: usize| mark.start.is_empty() && mark.cut.is_some_and(|cut| cut.len == len as u64);
    match (read, written) {
        (Value::Text(read), Value::Text(written)) => text(read, written),
        (Value::List(read), Value::List(written)) => {
            read.iter()
                .zip(written)
                .enumerate()
                .all(|(at, (r, w))| text(r, w) || at + 1 == read.len() && marks(r, written.len()))
                && (read.len() == written.len() || read.last().is_some_and(|last| last.cut.is_some()))
        }
        (Value::Pairs(read), Value::Pairs(written)) => {
            read.iter().zip(written).enumerate().all(|(at, (r, w))| {
                text(&r.0, &w.0) && text(&r.1, &w.1) || at + 1 == read.len() && marks(&r.1, written.len())
            }) && (read.len() == written.len() || read.last().is_some_and(|last| last.1.cut.is_some()))
        }
        _ => read == written,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_record_is_one_safe_line_that_reads_back(values in prop::collection::vec(any_value(), 0..=6)) {
        let fields = NAMES.into_iter().zip(values.clone()).fold(Fields::new(), |fields, (name, value)| fields.with(name, value));
        let line = line(fields);
        assert_safe(&line);
        let parsed = parse(line.as_bytes()).unwrap();
        prop_assert_eq!((parsed.seq, parsed.time_ms, parsed.kind.as_str()), (7, 1_795_397_025_678, "intent"));
        prop_assert_eq!(parsed.fields.len(), values.len());
        for ((name, read), (expected, written)) in parsed.fields.iter().zip(NAMES.into_iter().zip(&values)) {
            prop_assert_eq!(name, expected);
            prop_assert!(is_beginning(read, written), "{:?} of {:?}", read, written);
        }
    }

    #[test]
    fn small_values_come_back_whole(text in "\\PC{0,60}", number: u64, yes: bool, list in prop::collection::vec("\\PC{0,20}", 1..5)) {
        let values = [Value::text(text), Value::Number(number), Value::Bool(yes), Value::list(list.clone()),
            Value::pairs(list.iter().map(|text| (text.clone(), text.clone())))];
        let fields = NAMES.into_iter().zip(values.clone()).fold(Fields::new(), |fields, (name, value)| fields.with(name, value));
        let parsed = parse(line(fields).as_bytes()).unwrap();
        let read: Vec<Value> = parsed.fields.into_iter().map(|(_, value)| value).collect();
        prop_assert_eq!(read, values);
    }
}
