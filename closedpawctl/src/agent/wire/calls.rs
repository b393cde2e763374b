//! Puts tool calls together that arrive in pieces, from servers that number the pieces in their own ways.
#![forbid(unsafe_code)]

use super::{Event, WireError};
use crate::agent::limits::Guards;

/// A piece of a call, as it stands on the wire. Empty strings count as left out.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

/// The calls of one response so far.
#[derive(Debug)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    max_calls: usize,
    max_arguments: usize,
}

#[derive(Debug)]
struct Slot {
    wire_index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    shape: Shape,
    started: bool,
}

impl Calls {
    pub(super) fn new(guards: &Guards) -> Self {
        Self { slots: Vec::new(), max_calls: guards.calls, max_arguments: guards.arguments }
    }

    /// Takes a piece to the call that it belongs to.
    pub(super) fn add(&mut self, piece: Piece, out: &mut Vec<Event>) -> Result<(), WireError> {
        let piece = piece.without_empty();
        match self.place_of(&piece) {
            Some(index) => self.fill(index, piece, out),
            None => self.add_whole(piece, out),
        }
    }

    /// Takes what is a call of its own, whatever its id and index.
    pub(super) fn add_whole(&mut self, piece: Piece, out: &mut Vec<Event>) -> Result<(), WireError> {
        let index = self.open(&piece)?;
        self.fill(index, piece.without_empty(), out)
    }

    fn fill(&mut self, index: usize, piece: Piece, out: &mut Vec<Event>) -> Result<(), WireError> {
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        if slot.arguments.len().saturating_add(piece.arguments.len()) > self.max_arguments {
            return Err(WireError::TooLarge("the arguments of a tool call"));
        }
        slot.fill(index, piece, out);
        Ok(())
    }

    /// The response is complete, and so are the calls.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        for (index, mut slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            slot.start(index, out);
            let json = if slot.arguments.trim().is_empty() { "{}".to_owned() } else { slot.arguments };
            out.push(Event::ToolEnd { index, json });
        }
    }

    /// Some servers leave out the index or the id, repeat the name with each piece, or number every call 0.
    /// So an id decides if there is one; else a name after complete arguments is the next call.
    fn place_of(&self, piece: &Piece) -> Option<usize> {
        let place = match (&piece.index, &piece.id) {
            (Some(index), _) => self.slots.iter().rposition(|slot| slot.wire_index == Some(*index)),
            (None, Some(id)) => return self.slots.iter().rposition(|slot| slot.id == *id),
            (None, None) => self.slots.len().checked_sub(1),
        }?;
        let slot = self.slots.get(place)?;
        let continues = match &piece.id {
            Some(id) => slot.id == *id || (slot.id.is_empty() && !slot.shape.complete()),
            None => piece.name.is_none() || !slot.shape.complete() && slot.same_name(piece),
        };
        continues.then_some(place)
    }

    fn open(&mut self, piece: &Piece) -> Result<usize, WireError> {
        if self.slots.len() >= self.max_calls {
            return Err(WireError::TooLarge("the number of tool calls"));
        }
        self.slots.push(Slot {
            wire_index: piece.index,
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
            shape: Shape::default(),
            started: false,
        });
        Ok(self.slots.len() - 1)
    }
}

impl Piece {
    fn without_empty(self) -> Self {
        Self {
            id: self.id.filter(|id| !id.is_empty()),
            name: self.name.filter(|name| !name.is_empty()),
            ..self
        }
    }
}

impl Slot {
    fn same_name(&self, piece: &Piece) -> bool {
        self.name.is_empty() || piece.name.as_ref() == Some(&self.name)
    }

    fn fill(&mut self, index: usize, piece: Piece, out: &mut Vec<Event>) {
        if self.id.is_empty() {
            self.id = piece.id.unwrap_or_default();
        }
        if self.name.is_empty() {
            self.name = piece.name.unwrap_or_default();
        }
        if !self.name.is_empty() || !piece.arguments.is_empty() {
            self.start(index, out);
        }
        if !piece.arguments.is_empty() {
            self.shape.push(&piece.arguments);
            self.arguments.push_str(&piece.arguments);
            out.push(Event::ToolArgs { index, fragment: piece.arguments });
        }
    }

    fn start(&mut self, index: usize, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Event::ToolStart { index, id: self.id.clone(), name: self.name.clone() });
        }
    }
}

/// Whether a JSON object has been closed, told byte by byte: parsing again for each piece would take a hostile
/// server's million pieces a million times.
#[derive(Debug, Default)]
struct Shape {
    depth: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Shape {
    fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn complete(&self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Piece {
        Piece { index, id: Some(id.to_owned()), name: Some(name.to_owned()), arguments: arguments.to_owned() }
    }

    /// The calls that come out, as (id, name, arguments).
    fn joined(pieces: Vec<Piece>) -> Vec<(String, String, String)> {
        let mut calls = Calls::new(&Guards::default());
        let mut out = Vec::new();
        pieces.into_iter().for_each(|piece| calls.add(piece, &mut out).unwrap());
        calls.end(&mut out);
        let mut seen: Vec<(String, String, String)> = Vec::new();
        for event in out {
            if let Event::ToolStart { index, id, name } = event {
                assert_eq!(index, seen.len());
                seen.push((id, name, String::new()));
            } else if let Event::ToolEnd { index, json } = event {
                seen[index].2 = json;
            }
        }
        seen
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.into(), name.into(), arguments.into())
    }

    #[test]
    fn pieces_are_joined_by_index() {
        let pieces = vec![
            piece(Some(0), "a", "run", ""),
            piece(Some(0), "", "", "{\"x\""),
            piece(Some(1), "b", "read", "{"),
            piece(Some(0), "", "", ":1}"),
            piece(Some(1), "", "", "}"),
        ];
        assert_eq!(joined(pieces), [call("a", "run", "{\"x\":1}"), call("b", "read", "{}")]);
    }

    #[test]
    fn a_missing_index_is_made_up_for() {
        let pieces =
            vec![piece(None, "a", "run", "{"), piece(None, "", "", "}"), piece(None, "b", "run", "{}")];
        assert_eq!(joined(pieces), [call("a", "run", "{}"), call("b", "run", "{}")]);
        let pieces = vec![piece(None, "", "run", "{}"), piece(None, "", "run", "{\"x\":1}")];
        assert_eq!(joined(pieces), [call("", "run", "{}"), call("", "run", "{\"x\":1}")]);
        let by_id = vec![
            piece(None, "a", "run", "{"),
            piece(None, "b", "run", "{"),
            piece(None, "a", "", "}"),
            piece(None, "b", "", "}"),
        ];
        assert_eq!(joined(by_id), [call("a", "run", "{}"), call("b", "run", "{}")]);
    }

    #[test]
    fn an_index_that_starts_again_does_not_mix_calls() {
        let with_ids = vec![piece(Some(0), "a", "run", "{}"), piece(Some(0), "b", "run", "{}")];
        assert_eq!(joined(with_ids), [call("a", "run", "{}"), call("b", "run", "{}")]);
        let without = vec![piece(Some(0), "", "run", "{}"), piece(Some(0), "", "read", "{}")];
        assert_eq!(joined(without), [call("", "run", "{}"), call("", "read", "{}")]);
    }

    #[test]
    fn a_repeated_name_or_id_is_the_same_call() {
        let names = vec![
            piece(Some(0), "", "run", "{\"a\":"),
            piece(Some(0), "", "run", "\"}"),
            piece(Some(0), "", "run", "\"}"),
        ];
        assert_eq!(joined(names), [call("", "run", "{\"a\":\"}\"}")]);
        let ids = vec![piece(Some(0), "a", "run", ""), piece(Some(0), "a", "run", "{}")];
        assert_eq!(joined(ids), [call("a", "run", "{}")]);
        let late_id = vec![piece(Some(0), "", "run", ""), piece(Some(0), "a", "", "{}")];
        assert_eq!(joined(late_id), [call("", "run", "{}")]);
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        assert_eq!(joined(vec![piece(Some(0), "a", "run", "")]), [call("a", "run", "{}")]);
        assert_eq!(joined(vec![piece(Some(0), "a", "run", " \n")]), [call("a", "run", "{}")]);
        assert_eq!(joined(vec![piece(Some(0), "", "", "")]), [call("", "", "{}")]);
    }

    #[test]
    fn calls_and_arguments_have_a_limit() {
        let guards = Guards { calls: 2, arguments: 4, ..Guards::default() };
        let mut calls = Calls::new(&guards);
        let mut out = Vec::new();
        assert!(calls.add(piece(Some(0), "", "a", "1234"), &mut out).is_ok());
        assert!(calls.add(piece(Some(0), "", "", "5"), &mut out).is_err());
        assert!(calls.add(piece(Some(1), "", "b", ""), &mut out).is_ok());
        assert!(calls.add(piece(Some(2), "", "c", ""), &mut out).is_err());
    }
}
