//! What a rule says to the person, with what the session has read filled in.
#![forbid(unsafe_code)]

use crate::problem::visible;
use closedpaw_protocol::{Label, Source};

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Untrusted,
    Private,
}

/// The most sources that are named; more are counted.
const NAMED: usize = 3;

impl Template {
    /// Reads a template; `Err` holds the braces that mean nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![];
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
            parts.push(Part::Text(before.to_owned()));
            let (part, after) = [("{untrusted}", Part::Untrusted), ("{private}", Part::Private)]
                .into_iter()
                .find_map(|(name, part)| Some((part, from.strip_prefix(name)?)))
                .ok_or_else(|| from.chars().take_while(|c| *c != ' ').collect::<String>())?;
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(crate) fn fill(&self, label: &Label) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Untrusted => sources(label.untrusted()),
                Part::Private => sources(label.private()),
            })
            .collect()
    }
}

/// Sources for a person to read. Their names are foreign text, so they are escaped.
pub(crate) fn sources(all: &[Source]) -> String {
    if all.is_empty() {
        return "nothing".to_owned();
    }
    let mut named: Vec<String> =
        all.iter().take(NAMED).map(|source| visible(source.to_string().chars().take(80))).collect();
    if all.len() > NAMED {
        named.push(format!("{} more", all.len() - NAMED));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::SourceKind;

    #[test]
    fn sources_are_filled_in_escaped_and_counted() {
        let source = |name: &str| Source { kind: SourceKind::Web, name: name.into() };
        let label = Label::new([source("a\n{private}")], ["1", "2", "3", "4", "5"].map(source));
        let template = Template::parse("read {untrusted}, holds {private}.").unwrap();
        assert_eq!(template.fill(&label), "read web:a\\n{private}, holds web:1, web:2, web:3, 2 more.");
        assert_eq!(template.fill(&Label::default()), "read nothing, holds nothing.");
    }

    #[test]
    fn other_braces_are_refused() {
        for (text, bad) in
            [("a {host} b", "{host}"), ("}", "}"), ("{untrusted", "{untrusted"), ("{ private }", "{")]
        {
            assert_eq!(Template::parse(text), Err(bad.to_owned()));
        }
    }
}
