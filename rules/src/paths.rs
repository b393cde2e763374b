//! Paths as text: what is written plainly, and what else a crooked one may mean.
//!
//! Paths are compared and never resolved here. An `allow` takes only plainly written ones; a `deny` or `ask` also tries
//! what a crooked one comes to.
#![forbid(unsafe_code)]

use crate::pattern::{Pattern, PatternError, escape};
use std::fmt;

/// Where the workspace is inside every sandbox.
pub const WORKSPACE: &str = "/workspace";

/// A word pattern over the whole path, or everything below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    Whole(Pattern),
    /// The folder with its closing slash.
    Below(Box<str>),
}

/// Not a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("`.`, `..` and empty components match nothing")]
    Crooked,
    #[error("an empty path matches nothing")]
    Empty,
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if let Some(folder) = text.strip_suffix("/**") {
            let Pattern::Literal(folder) = Pattern::parse(folder)? else {
                return Err(PatternError::InnerStar.into());
            };
            let crooked = !folder.is_empty() && (&*folder == "/" || !is_plain(&folder));
            return if crooked {
                Err(PathError::Crooked)
            } else {
                Ok(Self::Below(format!("{folder}/").into()))
            };
        }
        let pattern = Pattern::parse(text)?;
        let crooked = match &pattern {
            // A closing slash is plain in an address's path.
            Pattern::Literal(path) => {
                !is_plain(path.strip_suffix('/').filter(|p| !p.is_empty()).unwrap_or(path))
            }
            Pattern::Prefix(path) => has_crooked(path.rsplit_once('/').map_or("", |(folders, _)| folders)),
            Pattern::Suffix(path) => has_crooked(path.split_once('/').map_or("", |(_, rest)| rest)),
            Pattern::Any => false,
        };
        if crooked { Err(PathError::Crooked) } else { Ok(Self::Whole(pattern)) }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Whole(pattern) => pattern.matches(path),
            Self::Below(folder) => path.len() > folder.len() && path.starts_with(&**folder),
        }
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(self, Self::Whole(Pattern::Literal(_)))
    }

    /// Whether every path the other matches is matched here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => one.covers(two),
            (Self::Below(short), Self::Below(long)) => long.starts_with(&**short),
            (Self::Whole(one), Self::Below(folder)) => one.covers(&Pattern::Prefix(folder.clone())),
            (Self::Below(folder), Self::Whole(Pattern::Prefix(prefix))) => {
                prefix.len() > folder.len() && prefix.starts_with(&**folder)
            }
            (Self::Below(_), Self::Whole(Pattern::Literal(path))) => self.matches(path),
            (Self::Below(_), Self::Whole(Pattern::Suffix(_) | Pattern::Any)) => false,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(pattern) => pattern.fmt(f),
            Self::Below(folder) => write!(f, "{}**", escape(folder)),
        }
    }
}

/// Whether a path says where it leads: no `.`, no `..`, no empty component, no NUL. `/` alone is plain.
pub fn is_plain(path: &str) -> bool {
    let below_root = path.strip_prefix('/').unwrap_or(path);
    if below_root.is_empty() {
        return path == "/";
    }
    !path.contains('\0') && below_root.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn has_crooked(folders: &str) -> bool {
    let below_root = folders.strip_prefix('/').unwrap_or(folders);
    !below_root.is_empty() && below_root.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// The same for path and query of an address; nothing may be hidden behind `%`, `\` or a control character either.
pub(crate) fn is_plain_url(path_and_query: &str) -> bool {
    let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
    let parts = path.strip_suffix('/').filter(|p| !p.is_empty()).unwrap_or(path);
    let hidden = ["%2e", "%2f", "%5c", "%25", "%00"];
    let lower = path.to_ascii_lowercase();
    path.starts_with('/')
        && is_plain(parts)
        && !path_and_query.contains(|c: char| c == '\\' || c.is_control())
        && !hidden.iter().any(|code| lower.contains(code))
}

/// What else a path may mean: without its detours, from the workspace on, and within it.
pub(crate) fn meanings(path: &str) -> Vec<String> {
    let straight = straighten(path);
    let mut all = vec![];
    if !path.starts_with('/') {
        all.push(straighten(&format!("{WORKSPACE}/{path}")));
    }
    if let Some(inside) = straight.strip_prefix(WORKSPACE).and_then(|rest| rest.strip_prefix('/')) {
        all.push(inside.to_owned());
    }
    all.push(straight);
    all
}

/// What else path and query of an address may mean: decoded once and twice, without detours, without the query.
pub(crate) fn url_meanings(path_and_query: &str) -> Vec<String> {
    let split = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at_checked(split).unwrap_or((path_and_query, ""));
    let once = decode(path);
    let twice = decode(&once);
    let paths = [path.to_owned(), once, twice];
    paths
        .iter()
        .map(|path| straighten(&path.replace('\\', "/")))
        .flat_map(|path| [format!("{path}{query}"), path])
        .collect()
}

/// Drops `.` and empty components and lets `..` take its parent away. A closing slash goes too.
fn straighten(path: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Percent-decoding (RFC 3986); what is no code stays, what is no UTF-8 is replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn only_plain_paths_are_plain() {
        for path in ["/", "/a", "/a/b", "a", "a/b", ".a", "a..b", "/..a", "/a b"] {
            assert!(is_plain(path), "{path}");
        }
        for path in
            ["", "//", "/a/", "a/", "/a//b", "./a", "/a/./b", "..", "/a/../b", "/a/..", ".", "/a\0b", "//a"]
        {
            assert!(!is_plain(path), "{path:?}");
        }
    }

    #[test]
    fn below_means_below() {
        let below = pattern("/workspace/src/**");
        assert!(below.matches("/workspace/src/a"));
        assert!(below.matches("/workspace/src/a/b"));
        for path in ["/workspace/src", "/workspace/src/", "/workspace/srcs/a", "/workspace/a"] {
            assert!(!below.matches(path), "{path}");
        }
        assert!(pattern("/**").matches("/a"));
    }

    #[test]
    fn patterns_that_can_match_no_plain_path_are_refused() {
        for text in ["/a/../b", "./a", "/a//b", "a/./**", "/a/../*", "*/../b", "//**"] {
            assert_eq!(PathPattern::parse(text), Err(PathError::Crooked), "{text}");
        }
        assert!(matches!(PathPattern::parse("/*/b"), Err(PathError::Pattern(_))));
        assert!(matches!(PathPattern::parse("/*/**"), Err(PathError::Pattern(_))));
        assert!(matches!(PathPattern::parse("**"), Err(PathError::Pattern(_))));
    }

    #[test]
    fn covers_are_exact() {
        for (one, two, covers) in [
            ("/a/**", "/a/b/**", true),
            ("/a/b/**", "/a/**", false),
            ("/a/**", "/a/b", true),
            ("/a/**", "/a", false),
            ("/a/**", "/a/b*", true),
            ("/a/**", "/a/*", false), // `/a/*` matches `/a/` as well
            ("/a*", "/a/**", true),
            ("*", "/a/**", true),
            ("/a/**", "*.rs", false),
        ] {
            assert_eq!(pattern(one).covers(&pattern(two)), covers, "{one} {two}");
        }
    }

    #[test]
    fn a_detour_comes_to_what_it_leads_to() {
        assert!(meanings("/workspace/a/../.git/config").contains(&"/workspace/.git/config".to_owned()));
        assert!(meanings("/workspace/.git/config").contains(&".git/config".to_owned()));
        assert!(meanings("./.git//config").contains(&"/workspace/.git/config".to_owned()));
        assert!(meanings("../../etc").contains(&"/etc".to_owned()));
        assert!(url_meanings("/a/%2e%2e/admin?x").contains(&"/admin".to_owned()));
        assert!(url_meanings("/%2561dmin").contains(&"/admin".to_owned()));
        assert!(url_meanings("/a\\..\\admin").contains(&"/admin".to_owned()));
    }

    #[test]
    fn an_address_that_hides_something_is_not_plain() {
        assert!(is_plain_url("/a/b/?q=../x"));
        assert!(is_plain_url("/"));
        assert!(is_plain_url("/caf%C3%A9"));
        for path in ["", "a", "/a/../b", "/a/%2E%2e/b", "/a%2fb", "/a\\b", "//a", "/a\nb", "/%2561"] {
            assert!(!is_plain_url(path), "{path:?}");
        }
    }
}
