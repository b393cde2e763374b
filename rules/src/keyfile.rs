//! Enrolled keys: `keys.d/NAME.toml`.
#![forbid(unsafe_code)]

use crate::problem::{Code, Problem, SourceFile, show};
use crate::profile::short_name;
use crate::read::{Reader, Table, Value};
use crate::vocabulary::Role;
use closedpaw_protocol::KeyId;
use toml::value::{Datetime, Offset};

/// An enrolled key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Its name, which is the file's without `.toml`.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// What it may do; never [`Role::Agent`], for an agent's key lives only as long as its session.
    pub role: Role,
    /// The public half. That it is a usable one is for the crate that verifies with it to say.
    pub public: KeyId,
    /// The second, counted from 1970, from which it is worth nothing.
    pub expires: u64,
}

impl KeyFile {
    /// Reads one key.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(file: &SourceFile<'_>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(*file);
        let key = read(&mut reader, stem(file.name));
        match (key, reader.finish().0) {
            (Some(key), problems) if problems.is_empty() => Ok(key),
            (_, problems) => Err(problems),
        }
    }

    /// The file's text, which [`KeyFile::parse`] reads back.
    pub fn render(&self) -> String {
        let Self { name, uid, role, public, expires } = self;
        format!(
            "version = 1\nname = \"{name}\"\nuid = {uid}\nrole = \"{role}\"\npublic = \"{public}\"\nexpires = {}\n",
            rfc3339(*expires)
        )
    }
}

fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.strip_suffix(".toml").unwrap_or(last)
}

fn read(reader: &mut Reader<'_>, stem: &str) -> Option<KeyFile> {
    let tree = reader.document()?;
    let root = Table::root(&tree);
    reader.version(root);
    reader.known_keys(root, &["version", "name", "uid", "role", "public", "expires"]);
    let name = reader.required(root, "name").and_then(|value| name(reader, value, stem));
    let uid = reader.required(root, "uid").and_then(|value| reader.number(value, 0..i64::from(u32::MAX)));
    let role = reader.required(root, "role").and_then(|value| role(reader, value));
    let public = reader.required(root, "public").and_then(|value| public(reader, value));
    let expires = reader.required(root, "expires").and_then(|value| expires(reader, value));
    Some(KeyFile { name: name?, uid: uid?, role: role?, public: public?, expires: expires? })
}

fn name(reader: &mut Reader<'_>, value: Value<'_, '_>, stem: &str) -> Option<String> {
    let name = short_name(reader, value)?;
    if name != stem {
        let message = format!("the key is called {} and its file {}", show(&name), show(stem));
        reader.problem(value.place(), Code::BadName, message, Some("they are one name".into()));
        return None;
    }
    Some(name)
}

fn role(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Role> {
    let role = reader.word(value, Code::UnknownWord, "role")?;
    if role == Role::Agent {
        let hint = Some("approver, admin or publisher".to_owned());
        reader.problem(value.place(), Code::UnknownWord, "an agent's key is never enrolled".into(), hint);
        return None;
    }
    Some(role)
}

fn public(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<KeyId> {
    let text = reader.text(value)?;
    let key = text.parse().ok();
    if key.is_none() {
        let message = "a public key is 64 lower-case hexadecimal digits".to_owned();
        reader.problem(
            value.place(),
            Code::BadKey,
            message,
            Some("closedpawctl key generate prints it".into()),
        );
    }
    key
}

fn expires(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<u64> {
    let seconds = unix_seconds(reader.time(value)?);
    if seconds.is_none() {
        let hint = Some("2030-01-31T00:00:00Z".to_owned());
        reader.problem(value.place(), Code::BadTime, "date, time and Z (UTC) are wanted here".into(), hint);
    }
    seconds
}

/// Seconds since 1970 of a time in UTC.
fn unix_seconds(time: &Datetime) -> Option<u64> {
    let (date, clock) = (time.date?, time.time?);
    if !matches!(time.offset, Some(Offset::Z)) {
        return None;
    }
    let days = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let of_day =
        i64::from(clock.hour) * 3600 + i64::from(clock.minute) * 60 + i64::from(clock.second.unwrap_or(0));
    u64::try_from(days * 86_400 + of_day).ok()
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; years are counted from March, so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// A second since 1970 as RFC 3339 has it; the year ends at 9999.
fn rfc3339(seconds: u64) -> String {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(seconds).unwrap_or(LAST).min(LAST);
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn text(role: &str, expires: &str) -> String {
        format!(
            "version = 1\nname = \"anna\"\nuid = 1000\nrole = \"{role}\"\npublic = \"{PUBLIC}\"\nexpires = {expires}\n"
        )
    }

    fn parse(text: &str) -> Result<KeyFile, Vec<Code>> {
        let file = SourceFile { name: "/etc/closedpaw/keys.d/anna.toml", text };
        KeyFile::parse(&file).map_err(|problems| problems.iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn a_key_is_read() {
        let key = parse(&text("approver", "2030-01-31T12:00:01Z")).unwrap();
        assert_eq!((key.uid, key.role, key.public.to_string().as_str()), (1000, Role::Approver, PUBLIC));
        // date -u -d 2030-01-31T12:00:01Z +%s
        assert_eq!(key.expires, 1_896_091_201);
    }

    /// From `date -u -d @N +%FT%TZ`.
    #[test]
    fn times_agree_with_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn nothing_is_taken_on_trust() {
        assert_eq!(parse(&text("agent", "2030-01-31T00:00:00Z")), Err(vec![Code::UnknownWord]));
        for expires in
            ["2030-01-31", "2030-01-31T00:00:00", "2030-01-31T00:00:00+01:00", "1960-01-01T00:00:00Z"]
        {
            assert_eq!(parse(&text("admin", expires)), Err(vec![Code::BadTime]), "{expires}");
        }
        assert_eq!(parse(&text("admin", "\"2030\"")), Err(vec![Code::WrongType]));
        assert_eq!(
            parse(&text("admin", "2030-01-31T00:00:00Z").replace("d75a", "D75A")),
            Err(vec![Code::BadKey])
        );
        assert_eq!(
            parse(&text("admin", "2030-01-31T00:00:00Z").replace("anna", "otto")),
            Err(vec![Code::BadName])
        );
        // Row P10: a claim made twice is no claim.
        let twice = format!("{}uid = 0\n", text("admin", "2030-01-31T00:00:00Z"));
        assert_eq!(parse(&twice), Err(vec![Code::Syntax]));
        assert_eq!(parse("version = 1").unwrap_err(), [Code::MissingKey; 5]);
    }

    proptest! {
        #[test]
        fn a_key_survives_its_own_text(uid in 0..u32::MAX, public: [u8; 32], expires in 0..253_402_300_800u64) {
            let key = KeyFile { name: "anna".into(), uid, role: Role::Admin, public: KeyId(public), expires };
            prop_assert_eq!(parse(&key.render()), Ok(key));
        }
    }
}
