//! Hosts: names decided here, addresses decided here where the host is one and at the gateway where it is a name.
#![forbid(unsafe_code)]

use crate::addresses::{Literal, Network, NetworkError, embedded, literal};
use std::fmt;
use std::net::IpAddr;

/// A host name, every name below one, every name, or a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exact(Box<str>),
    /// With its leading dot.
    Below(Box<str>),
    Any,
    Net(Network),
}

/// Not a host pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("an address is written in one way only: four decimal numbers, or as RFC 5952 has it")]
    OddAddress,
    #[error("`*` may stand alone, or as `*.` before a name")]
    Star,
    #[error("not a host name: letters, digits, `-`, `_` and dots, without scheme, port or path")]
    Name,
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.parse::<Network>() {
            Ok(network) => return Ok(Self::Net(network)),
            Err(error @ NetworkError::HostBits(_)) => return Err(error.into()),
            Err(NetworkError::Malformed) => {}
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let range = literal(address) != Literal::No && prefix.bytes().all(|b| b.is_ascii_digit());
            return Err(if range { NetworkError::Malformed.into() } else { HostError::Name });
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.contains('*') {
            return Err(HostError::Star);
        }
        let has_port = text.matches(':').count() == 1;
        if !has_port && literal(name) != Literal::No {
            return Err(HostError::OddAddress);
        }
        let name = canonical(name).ok_or(HostError::Name)?;
        Ok(if text.starts_with('*') {
            Self::Below(format!(".{name}").into())
        } else {
            Self::Exact(name.into())
        })
    }

    fn matches_name(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == &**exact,
            Self::Below(parent) => name.len() > parent.len() && name.ends_with(&**parent),
            Self::Any => true,
            Self::Net(_) => false,
        }
    }

    pub(crate) fn network(&self) -> Option<Network> {
        match self {
            Self::Net(network) => Some(*network),
            Self::Exact(_) | Self::Below(_) | Self::Any => None,
        }
    }

    /// Whether every host the other matches is matched here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Net(one), Self::Net(two)) => one.covers(two),
            (Self::Net(_), _) | (_, Self::Net(_)) => false,
            (Self::Any, _) => true,
            (one, Self::Exact(name)) => one.matches_name(name),
            (Self::Below(short), Self::Below(long)) => long.ends_with(&**short),
            (Self::Exact(_) | Self::Below(_), Self::Below(_) | Self::Any) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*{parent}"),
            Self::Any => f.write_str("*"),
            Self::Net(network) => network.fmt(f),
        }
    }
}

/// A host name in the one form that is compared: lower case, no closing dot; `None` if it is none (RFC 1123, and `_`).
fn canonical(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// A host as it was asked for.
#[derive(Debug)]
pub(crate) enum Host {
    /// A name, canonically.
    Name(String),
    /// An address written canonically, with those it carries.
    Address(IpAddr, Vec<IpAddr>),
    /// An address written so that others may read another one, with all of them.
    Odd(Vec<IpAddr>),
    /// Neither: no telling what it leads to.
    Crooked,
}

impl Host {
    pub(crate) fn of(host: &str) -> Self {
        match literal(host) {
            Literal::Plain(address) => Self::Address(address, embedded(address)),
            Literal::Odd(all) => Self::Odd(all.into_iter().flat_map(embedded).collect()),
            Literal::Unreadable => Self::Crooked,
            Literal::No => canonical(host).map_or(Self::Crooked, Self::Name),
        }
    }

    /// Whether this is certainly one of those meant. A name stands for itself and never for an address, an address never
    /// for a name, not even under `*`.
    pub(crate) fn is_within(&self, patterns: &[HostPattern]) -> bool {
        match self {
            Self::Name(name) => patterns.iter().any(|pattern| pattern.matches_name(name)),
            Self::Address(address, _) => {
                patterns.iter().filter_map(HostPattern::network).any(|network| network.contains(*address))
            }
            Self::Odd(_) | Self::Crooked => false,
        }
    }

    /// Whether this may be one of those meant.
    pub(crate) fn may_be_within(&self, patterns: &[HostPattern]) -> bool {
        match self {
            Self::Name(name) => patterns.iter().any(|pattern| pattern.matches_name(name)),
            Self::Address(_, all) | Self::Odd(all) => patterns.iter().any(|pattern| match pattern {
                HostPattern::Net(network) => all.iter().any(|address| network.contains(*address)),
                HostPattern::Any => true,
                HostPattern::Exact(_) | HostPattern::Below(_) => false,
            }),
            Self::Crooked => true,
        }
    }

    /// Whether a name server still has a word in where this leads.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<HostPattern> {
        texts.iter().map(|text| HostPattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_name_is_compared_in_one_form() {
        for host in ["example.org", "EXAMPLE.org", "example.org."] {
            assert!(Host::of(host).is_within(&patterns(&["Example.ORG"])), "{host}");
        }
        for host in [
            "example.org..",
            "xexample.org",
            "a.example.org",
            "example.org\0",
            "example.org/",
            "éxample.org",
            "",
        ] {
            assert!(!Host::of(host).is_within(&patterns(&["example.org"])), "{host}");
        }
    }

    #[test]
    fn below_a_name_is_not_the_name() {
        let below = patterns(&["*.internal"]);
        assert!(Host::of("a.b.internal").is_within(&below));
        assert!(!Host::of("internal").is_within(&below));
        assert!(!Host::of("evilinternal").is_within(&below));
    }

    #[test]
    fn an_address_is_not_a_name_even_under_a_star() {
        assert!(!Host::of("10.0.0.1").is_within(&patterns(&["*"])));
        assert!(Host::of("10.0.0.1").may_be_within(&patterns(&["*"])));
        assert!(Host::of("10.0.0.1").is_within(&patterns(&["10.0.0.0/8"])));
        assert!(!Host::of("0xa.1").is_within(&patterns(&["10.0.0.0/8"])));
        assert!(Host::of("0xa.1").may_be_within(&patterns(&["10.0.0.0/8"])));
    }

    #[test]
    fn what_is_no_host_may_be_any() {
        for host in ["localhost%00.example.org", "a b", "user@host", "ｌocalhost", "", "999.1", "a..b"] {
            assert!(Host::of(host).may_be_within(&patterns(&["localhost"])), "{host}");
            assert!(!Host::of(host).is_within(&patterns(&["*"])), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_pattern_is_refused() {
        for text in ["a*", "*a", "a.*", "*.*", "**", "*.", "a.*.b"] {
            assert!(matches!(HostPattern::parse(text), Err(HostError::Star | HostError::Name)), "{text}");
        }
        for text in ["http://a", "a/b", "a:80", "", ".", "a..b", "a b", "ü.example"] {
            assert_eq!(HostPattern::parse(text), Err(HostError::Name), "{text}");
        }
        for text in ["0x7f.1", "127.1", "010.0.0.1", "[::1]", "1.2.3.400"] {
            assert_eq!(HostPattern::parse(text), Err(HostError::OddAddress), "{text}");
        }
        for text in ["10.0.0.1/8", "10.0.0.0/40"] {
            assert!(matches!(HostPattern::parse(text), Err(HostError::Network(_))), "{text}");
        }
    }
}
