//! Making a conversation fit into what the model can hold: a server that is sent more than that may cut off its
//! beginning without a word, and our rules with it.
#![forbid(unsafe_code)]

use super::AskError;
use crate::agent::wire::request::Message;

/// A message, and what may stand in its place when room is short.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) message: Message,
    pub(super) stub: Option<Message>,
}

impl From<Message> for Entry {
    fn from(message: Message) -> Self {
        Self { message, stub: None }
    }
}

/// One question with everything up to its answer.
pub(super) type Exchange = Vec<Entry>;

/// Messages that fit, and how many earlier exchanges had to be left out for it.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) messages: Vec<Message>,
    pub(super) dropped: usize,
}

/// The beginning always stays; old exchanges go first, then old results of this question, never the last one.
pub(super) fn fit(
    beginning: &[Message],
    history: &[Exchange],
    current: &[Entry],
    room: u32,
    context: u32,
) -> Result<Fitted, AskError> {
    let fixed = cost(beginning.iter());
    let whole: u32 = sum(current.iter().map(|entry| of(&entry.message)));
    let (current, current_cost) = shorten(current, whole, room.saturating_sub(fixed));
    let needed = fixed.saturating_add(current_cost);
    if needed > room {
        return Err(AskError::ContextTooSmall {
            context,
            needed: needed.saturating_add(context.saturating_sub(room)),
        });
    }
    let mut left = room - needed;
    let costs = history.iter().rev().map(|exchange| sum(exchange.iter().map(|entry| of(&entry.message))));
    let kept =
        costs.take_while(|cost| left.checked_sub(*cost).inspect(|rest| left = *rest).is_some()).count();
    let dropped = history.len() - kept;
    let past = history.iter().skip(dropped).flatten().map(|entry| &entry.message);
    let messages = beginning.iter().chain(past).chain(current).cloned().collect();
    Ok(Fitted { messages, dropped })
}

/// Puts stubs in place, oldest first, until it fits; the last entry that has one keeps its text.
fn shorten(current: &[Entry], whole: u32, room: u32) -> (Vec<&Message>, u32) {
    let last = current.iter().rposition(|entry| entry.stub.is_some());
    let mut total = whole;
    let messages = current
        .iter()
        .enumerate()
        .map(|(place, entry)| match &entry.stub {
            Some(stub) if total > room && Some(place) != last => {
                total = total.saturating_sub(of(&entry.message)).saturating_add(of(stub));
                stub
            }
            _ => &entry.message,
        })
        .collect();
    (messages, total)
}

fn cost<'a>(messages: impl Iterator<Item = &'a Message>) -> u32 {
    sum(messages.map(of))
}

fn sum(costs: impl Iterator<Item = u32>) -> u32 {
    costs.fold(0, u32::saturating_add)
}

/// For a message's role and its own marks.
const FRAME: u32 = 8;

fn of(message: &Message) -> u32 {
    let text = match message {
        Message::System(text) | Message::User(text) | Message::Tool { text, .. } => estimate(text),
        Message::Assistant { text, thinking, calls } => {
            let calls = calls.iter().map(|call| estimate(call.arguments.text()).saturating_add(FRAME));
            sum(calls).saturating_add(estimate(text)).saturating_add(estimate(thinking))
        }
    };
    text.saturating_add(FRAME)
}

/// Tokens of a text, rather too many than too few: words have about four letters a token, but each digit and
/// each sign may be one of its own, and so may half of a character that is not ASCII.
pub(super) fn estimate(text: &str) -> u32 {
    let thirds: usize = text
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | ' ' => 1,
            _ if c.is_ascii() => 3,
            _ => 6,
        })
        .sum();
    u32::try_from(thirds / 3).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(letters: usize) -> Message {
        Message::User("x".repeat(letters))
    }

    fn result(letters: usize) -> Entry {
        Entry { message: user(letters), stub: Some(user(3)) }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let fitted =
            fit(&[user(30)], &[vec![user(30).into()]], &[user(30).into(), result(30)], 1000, 2000).unwrap();
        assert_eq!(fitted.messages, [user(30), user(30), user(30), user(30)]);
        assert_eq!(fitted.dropped, 0);
    }

    #[test]
    fn the_oldest_exchanges_go_first() {
        let history = [vec![user(299).into()], vec![user(298).into()], vec![user(297).into()]];
        let fitted = fit(&[user(30)], &history, &[user(30).into()], 260, 2000).unwrap();
        assert_eq!(fitted.messages, [user(30), user(298), user(297), user(30)]);
        assert_eq!(fitted.dropped, 1);
    }

    #[test]
    fn then_old_results_but_never_the_rules_or_the_last_one() {
        let current = [user(30).into(), result(300), result(301), result(302)];
        let fitted = fit(&[user(30)], &[vec![user(30).into()]], &current, 300, 2000).unwrap();
        assert_eq!(fitted.messages, [user(30), user(30), user(30), user(3), user(301), user(302)]);
        let fitted = fit(&[user(30)], &[], &current, 200, 2000).unwrap();
        assert_eq!(fitted.messages, [user(30), user(30), user(3), user(3), user(302)]);
    }

    #[test]
    fn a_question_that_cannot_fit_is_an_error_that_says_how_much_it_needs() {
        let error = fit(&[user(30)], &[], &[user(3000).into()], 500, 600).unwrap_err();
        assert_eq!(error, AskError::ContextTooSmall { context: 600, needed: 1128 });
    }

    #[test]
    fn digits_signs_and_other_scripts_count_for_more() {
        assert!(estimate("12345678") > 2 * estimate("abcdefgh"));
        assert!(estimate("漢字漢字") >= 8);
    }
}
