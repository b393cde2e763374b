//! Word patterns: a literal, `x*`, `*x`, `*`; a command line of them, which `**` may end.
//!
//! Nothing richer, so that whether one pattern covers another can be decided exactly.
#![forbid(unsafe_code)]

use std::fmt;

/// One word, or all words that begin or end alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Literal(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Any,
}

/// Not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("`*` may stand only at the beginning or at the end, and only once")]
    InnerStar,
    #[error("`**` may stand only as the last word of an argv, or behind the last `/` of a path")]
    DoubleStar,
    #[error("a backslash may stand only before `*` or another backslash")]
    Escape,
    #[error("no text holds a NUL")]
    Nul,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let letters = letters(text)?;
        let plain = |letters: &[(char, bool)]| -> Result<Box<str>, PatternError> {
            if letters.iter().any(|(_, star)| *star) {
                return Err(PatternError::InnerStar);
            }
            Ok(letters.iter().map(|(letter, _)| *letter).collect::<String>().into())
        };
        match letters.as_slice() {
            [(_, true)] => Ok(Self::Any),
            [(_, true), (_, true)] => Err(PatternError::DoubleStar),
            [(_, true), rest @ ..] => plain(rest).map(Self::Suffix),
            [rest @ .., (_, true)] => plain(rest).map(Self::Prefix),
            letters => plain(letters).map(Self::Literal),
        }
    }

    pub(crate) fn matches(&self, word: &str) -> bool {
        match self {
            Self::Literal(literal) => word == &**literal,
            Self::Prefix(prefix) => word.starts_with(&**prefix),
            Self::Suffix(suffix) => word.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// Whether every word the other matches is matched here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Literal(word)) => self.matches(word),
            (Self::Prefix(short), Self::Prefix(long)) => long.starts_with(&**short),
            (Self::Suffix(short), Self::Suffix(long)) => long.ends_with(&**short),
            (Self::Literal(_), Self::Prefix(_) | Self::Suffix(_) | Self::Any)
            | (Self::Prefix(_), Self::Suffix(_) | Self::Any)
            | (Self::Suffix(_), Self::Prefix(_) | Self::Any) => false,
        }
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}

/// The letters, and which of them are stars that mean something.
fn letters(text: &str) -> Result<Vec<(char, bool)>, PatternError> {
    let mut letters = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '\\')) => letters.push((escaped, false)),
                _ => return Err(PatternError::Escape),
            },
            '\0' => return Err(PatternError::Nul),
            '*' => letters.push(('*', true)),
            letter => letters.push((letter, false)),
        }
    }
    Ok(letters)
}

/// A word as a pattern that matches it alone.
pub(crate) fn escape(word: &str) -> String {
    word.replace('\\', "\\\\").replace('*', "\\*")
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(word) => f.write_str(&escape(word)),
            Self::Prefix(word) => write!(f, "{}*", escape(word)),
            Self::Suffix(word) => write!(f, "*{}", escape(word)),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A command line, word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argv {
    pub(crate) words: Vec<Pattern>,
    /// Whether any further words may follow.
    pub(crate) rest: bool,
}

/// The word that lets further words follow.
pub(crate) const REST: &str = "**";

impl Argv {
    pub(crate) fn matches(&self, argv: &[String]) -> bool {
        let enough = if self.rest { argv.len() >= self.words.len() } else { argv.len() == self.words.len() };
        enough && self.words.iter().zip(argv).all(|(pattern, word)| pattern.matches(word))
    }

    /// Whether this line may be one of those meant: a program is the same by its name and by its path.
    pub(crate) fn touches(&self, argv: &[String]) -> bool {
        let (Some(pattern), Some((program, words))) = (self.words.first(), argv.split_first()) else {
            return self.matches(argv);
        };
        let by_name = match pattern {
            Pattern::Literal(literal) => last_part(literal) == last_part(program),
            Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Any => pattern.matches(last_part(program)),
        };
        let enough = if self.rest { argv.len() >= self.words.len() } else { argv.len() == self.words.len() };
        let same = |(pattern, word): (&Pattern, &String)| pattern.matches(word);
        enough && (by_name || pattern.matches(program)) && self.words.iter().skip(1).zip(words).all(same)
    }

    /// Whether every command line the other touches is touched here.
    pub(crate) fn touches_all(&self, other: &Self) -> bool {
        let mut by_name = other.clone();
        if let Some(Pattern::Literal(program)) = by_name.words.first_mut() {
            *program = last_part(program).into();
        }
        self.covers(other) && self.covers(&by_name)
    }

    /// Whether every command line the other matches is matched here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let lengths = if self.rest {
            other.words.len() >= self.words.len()
        } else {
            !other.rest && other.words.len() == self.words.len()
        };
        lengths && self.words.iter().zip(&other.words).all(|(one, two)| one.covers(two))
    }
}

fn last_part(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.words.iter().map(ToString::to_string).collect();
        if self.rest {
            words.push(REST.into());
        }
        write!(f, "{}", words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn argv(words: &[&str]) -> Argv {
        let rest = words.last() == Some(&REST);
        let words = if rest { &words[..words.len() - 1] } else { words };
        Argv { words: words.iter().map(|word| pattern(word)).collect(), rest }
    }

    fn line(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn only_the_four_forms_are_patterns() {
        for text in ["a*b", "*a*", "a**", "**a", "***", "a*b*"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::InnerStar), "{text}");
        }
        assert_eq!(Pattern::parse("**"), Err(PatternError::DoubleStar));
        for text in ["\\", "a\\", "\\d", "a\\n*"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::Escape), "{text}");
        }
        assert_eq!(pattern("\\**"), Pattern::Prefix("*".into()));
        assert_eq!(pattern("\\*"), Pattern::Literal("*".into()));
        assert_eq!(pattern("a\\*b"), Pattern::Literal("a*b".into()));
        assert_eq!(pattern("\\\\*"), Pattern::Prefix("\\".into()));
    }

    #[test]
    fn the_rest_may_be_nothing() {
        assert!(argv(&["ls", "**"]).matches(&line(&["ls"])));
        assert!(argv(&["ls", "**"]).matches(&line(&["ls", "-l", "a b"])));
        assert!(!argv(&["ls", "*", "**"]).matches(&line(&["ls"])));
        assert!(!argv(&["ls"]).matches(&line(&["ls", "-l"])));
        assert!(!argv(&["ls", "**"]).matches(&line(&["ls -l"])));
        assert!(!argv(&["ls", "**"]).matches(&line(&["ls\n"])));
        assert!(!argv(&["ls", "**"]).matches(&[]));
    }

    /// What a pattern means, said in another way: try every split of the word around the star.
    fn oracle(pattern: &str, word: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == word,
            Some((before, after)) => (0..=word.len()).filter(|at| word.is_char_boundary(*at)).any(|start| {
                (start..=word.len())
                    .filter(|end| word.is_char_boundary(*end))
                    .any(|end| word[..start] == *before && word[end..] == *after)
            }),
        }
    }

    fn pattern_text() -> impl Strategy<Value = String> {
        prop_oneof!["[ab/]{0,4}", "[ab/]{0,3}\\*", "\\*[ab/]{0,3}"]
    }

    proptest! {
        #[test]
        fn patterns_agree_with_the_oracle(text in pattern_text(), word in "[ab/é]{0,5}") {
            prop_assert_eq!(pattern(&text).matches(&word), oracle(&text, &word));
        }

        #[test]
        fn a_cover_matches_all_that_is_covered(one in pattern_text(), two in pattern_text(), words in prop::collection::vec("[ab/]{0,4}", 20)) {
            let (one, two) = (pattern(&one), pattern(&two));
            if one.covers(&two) {
                prop_assert!(words.iter().all(|word| !two.matches(word) || one.matches(word)));
            } else {
                // Exactness: a word of this shape is matched by the covered one alone.
                let witness = match &two {
                    Pattern::Literal(word) => word.to_string(),
                    Pattern::Prefix(word) => format!("{word}zzzzz"),
                    Pattern::Suffix(word) => format!("zzzzz{word}"),
                    Pattern::Any => "z".repeat(9),
                };
                prop_assert!(two.matches(&witness) && !one.matches(&witness));
            }
        }

        #[test]
        fn a_pattern_survives_its_own_text(text in pattern_text(), word in "\\PC{0,6}") {
            prop_assert_eq!(&Pattern::parse(&pattern(&text).to_string()).unwrap(), &pattern(&text));
            prop_assert_eq!(Pattern::parse(&escape(&word)), Ok(Pattern::Literal(word.into())));
        }

        #[test]
        fn a_covering_argv_matches_all_that_is_covered(
            one in prop::collection::vec(pattern_text(), 0..3), one_rest: bool,
            two in prop::collection::vec(pattern_text(), 0..3), two_rest: bool,
            lines in prop::collection::vec(prop::collection::vec("[ab/]{0,2}", 0..4), 20),
        ) {
            let make = |texts: &[String], rest| Argv { words: texts.iter().map(|t| pattern(t)).collect(), rest };
            let (one, two) = (make(&one, one_rest), make(&two, two_rest));
            if one.covers(&two) {
                prop_assert!(lines.iter().all(|line| !two.matches(line) || one.matches(line)));
            }
        }
    }
}
