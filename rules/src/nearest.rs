//! The known word nearest to a mistyped one.
#![forbid(unsafe_code)]

/// What people write who know another program's words.
const ALSO_CALLED: &[(&str, &str)] = &[
    ("permit", "allow"),
    ("accept", "allow"),
    ("forbid", "deny"),
    ("block", "deny"),
    ("reject", "deny"),
    ("prompt", "ask"),
    ("confirm", "ask"),
    ("command", "argv"),
    ("cmd", "argv"),
    ("args", "argv"),
    ("program", "argv"),
    ("run", "exec"),
    ("execute", "exec"),
    ("shell", "exec"),
    ("user", "uid"),
    ("gid", "group"),
    ("groups", "group"),
    ("domain", "host"),
    ("url", "host"),
    ("directory", "cwd"),
    ("dir", "cwd"),
    ("workdir", "cwd"),
    ("file", "path"),
    ("paths", "path"),
    ("folder", "path"),
    ("to", "recipient"),
    ("timeout", "wait"),
    ("reason", "why"),
    ("message", "why"),
    ("label", "labels"),
    ("tier", "isolation"),
    ("limit", "limits"),
    ("environment", "env"),
    ("memory", "remember"),
    ("delete", "kill"),
    ("ls", "list"),
    ("http", "fetch"),
    ("download", "fetch"),
    ("network", "connect"),
];

/// Longer words are not compared: nothing known is that long.
const LONGEST: usize = 40;

/// A hint that names the nearest known word, or all of them if they are few.
pub(crate) fn suggestion(word: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
    let known: Vec<&'static str> = known.collect();
    if let Some(near) = nearest(word, &known) {
        return Some(format!("did you mean `{near}`?"));
    }
    let few = !known.is_empty() && known.len() <= 20;
    few.then(|| format!("known here: {}", known.join(", ")))
}

/// The known word with the fewest slips between it and this one, if they are few for its length.
pub(crate) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word: Vec<char> = word.trim().to_lowercase().replace('-', "_").chars().take(LONGEST + 1).collect();
    if word.len() > LONGEST {
        return None;
    }
    let spelt: String = word.iter().collect();
    let by_slips = known.iter().filter_map(|candidate| {
        let letters: Vec<char> = candidate.chars().collect();
        let slips = distance(&word, &letters);
        let most = match letters.len() {
            0..=2 => 0,
            3..=5 => 1,
            6..=8 => 2,
            _ => 3,
        };
        // Of two equally near, the one that is as long, then the one that begins and ends alike.
        let longer = word.len().abs_diff(letters.len());
        let begins = usize::from(word.first() != letters.first());
        let ends = usize::from(word.last() != letters.last());
        (slips <= most).then_some((slips, longer, begins + ends, *candidate))
    });
    by_slips.min().map(|(_, _, _, candidate)| candidate).or_else(|| {
        let (_, meant) = ALSO_CALLED.iter().find(|(other, _)| *other == spelt)?;
        known.iter().find(|candidate| *candidate == meant).copied()
    })
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let mut least =
                (get(&last, j) + usize::from(x != y)).min(get(&last, j + 1) + 1).min(get(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(get(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    get(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_as_in_the_definition() {
        let count =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(count("", ""), 0);
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("alow", "allow"), 1);
        assert_eq!(count("alolw", "allow"), 1);
        assert_eq!(count("abc", ""), 3);
    }

    #[test]
    fn another_programs_word_is_understood() {
        assert_eq!(nearest("forbid", &["allow", "ask", "deny"]), Some("deny"));
        assert_eq!(nearest("Command", &["argv", "host"]), Some("argv"));
    }

    #[test]
    fn nothing_near_is_not_guessed_at() {
        assert_eq!(nearest("zzzzzzzz", &["allow", "ask", "deny"]), None);
        assert_eq!(nearest(&"a".repeat(100_000), &["allow"]), None);
    }
}
