//! Writing values into the room there is.
//!
//! Whoever fills one field must not push another out of the record: texts are cut at [`TEXT_MAX`], and if
//! the fields together are still too large, the largest ones give way, down to the mark of what was cut.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::escape::push_json;
use super::value::{Cut, FIELDS_MAX, Fields, NAME_MAX, Text, Value};

/// A text takes at most this many bytes of its line, the mark of a cut not counted.
pub const TEXT_MAX: usize = 1024;

/// `"\\cut{` 20 digits `,` 64 digits `}"`: what a cut text takes at least.
const MARK: usize = 2 + 6 + 20 + 1 + 64 + 1;
/// What a cut list of pairs takes at least: `[["",MARK]]`.
const LEAST: usize = MARK + 7;
/// `,"name":`, and as much again for `fields_cut`, which stands once.
const NAME_ROOM: usize = NAME_MAX + 4;

const _: () = assert!(FIELDS_MAX * (NAME_ROOM + LEAST) + 512 < super::LINE_MAX);

/// Appends `,"name":value` for each field, in at most `room` bytes.
pub(super) fn fields(out: &mut String, fields: &Fields, room: usize) {
    let naturals: Vec<String> = fields.iter().map(|(_, value)| encoded(value, super::LINE_MAX)).collect();
    let names: usize = (fields.iter().count() + 1) * NAME_ROOM;
    let cap = fair_share(naturals.iter().map(String::len).collect(), room.saturating_sub(names));
    for ((name, value), natural) in fields.iter().zip(naturals) {
        let text = if natural.len() <= cap { natural } else { encoded(value, cap) };
        let _ = write!(out, ",\"{name}\":{text}");
    }
    if fields.left_out() > 0 {
        let _ = write!(out, ",\"fields_cut\":{}", fields.left_out());
    }
}

/// The largest size each may have so that all of them fit: who needs less leaves the rest to the others.
fn fair_share(mut sizes: Vec<usize>, mut room: usize) -> usize {
    sizes.sort_unstable();
    let mut sharing = sizes.len();
    for size in sizes {
        let share = room / sharing.max(1);
        if size > share {
            return share.max(LEAST);
        }
        room -= size;
        sharing -= 1;
    }
    usize::MAX
}

/// A value as JSON in at most `room` bytes, `room` being at least [`LEAST`].
fn encoded(value: &Value, room: usize) -> String {
    let mut out = String::new();
    match value {
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Text(text) => push_text(&mut out, text, room),
        Value::List(texts) => push_all(&mut out, texts, room, MARK, push_text, || {
            (Text { start: String::new(), cut: Some(cut_list(texts.iter(), texts.len())) }, MARK)
        }),
        Value::Pairs(pairs) => push_all(&mut out, pairs, room, 2 * MARK + 3, push_pair, || {
            let both = pairs.iter().flat_map(|(name, value)| [name, value]);
            let mark = Text { start: String::new(), cut: Some(cut_list(both, pairs.len())) };
            ((Text::default(), mark), MARK + 5)
        }),
    }
    out
}

/// Appends a list in at most `room` bytes. A member takes at least `least`; where the next one does not fit,
/// `mark` gives the member that says what was cut and what it takes.
fn push_all<T>(
    out: &mut String,
    members: &[T],
    room: usize,
    least: usize,
    push: fn(&mut String, &T, usize),
    mark: impl Fn() -> (T, usize),
) {
    let end = out.len() + room.saturating_sub(1); // "]"
    let mark_room = MARK + 5 + 1;
    out.push('[');
    for (at, member) in members.iter().enumerate() {
        let reserved = if at + 1 == members.len() { 0 } else { mark_room };
        let comma = usize::from(at > 0);
        let left = end.saturating_sub(out.len() + comma + reserved);
        if comma == 1 {
            out.push(',');
        }
        if left < least {
            let (mark, size) = mark();
            push(out, &mark, size);
            break;
        }
        push(out, member, left);
    }
    out.push(']');
}

/// Appends `["name","value"]` in at most `room` bytes.
fn push_pair(out: &mut String, (name, value): &(Text, Text), room: usize) {
    let end = out.len() + room;
    out.push('[');
    push_text(out, name, room.saturating_sub(3 + MARK).max(2));
    out.push(',');
    push_text(out, value, end.saturating_sub(out.len() + 1));
    out.push(']');
}

/// Appends a text in at most `room` bytes, quotes included: whole if it fits, else its beginning and the mark.
fn push_text(out: &mut String, text: &Text, room: usize) {
    out.push('"');
    let begin = out.len();
    let whole = begin + TEXT_MAX.min(room.saturating_sub(2));
    let kept = begin + TEXT_MAX.min(room.saturating_sub(MARK));
    let mut keep = begin;
    let mut cut = text.cut;
    for c in text.start.chars() {
        push_json(out, c);
        if out.len() <= kept {
            keep = out.len();
        }
        if out.len() > whole {
            cut = cut.or_else(|| Some(cut_text(&text.start)));
            break;
        }
    }
    if let Some(Cut { len, blake3 }) = cut {
        out.truncate(keep);
        let _ = write!(out, "\\\\cut{{{len},{}}}", hex::encode(blake3));
    }
    out.push('"');
}

fn cut_text(text: &str) -> Cut {
    Cut { len: text.len() as u64, blake3: *blake3::hash(text.as_bytes()).as_bytes() }
}

fn cut_list<'a>(texts: impl Iterator<Item = &'a Text>, members: usize) -> Cut {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.start.len() as u64).to_be_bytes()).update(text.start.as_bytes());
    }
    Cut { len: members as u64, blake3: *hasher.finalize().as_bytes() }
}
