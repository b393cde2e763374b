//! What a desktop is told of questions, and when: that there are some, never what is in them, and not one by one.
#![forbid(unsafe_code)]

use closedpaw_protocol::ApprovalId;
use closedpaw_protocol::message::Question;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep_until};

/// From one notification to the next. However much an obedient model asks, the person is told three times a minute.
pub const INTERVAL: Duration = Duration::from_secs(20);

/// No question is open for longer, whatever its end is said to be.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// One notification.
///
/// It has no place for an argument, a path, a label or a reason: a model can have chosen those, and a desktop may render
/// what it shows as markup, with links and pictures that are fetched, cut it off where it pleases, and show it on a locked
/// screen. What is asked is read where all of it is shown, escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// One question is open.
    One {
        /// What is asked for: a word of the protocol's.
        kind: &'static str,
        /// The question.
        id: ApprovalId,
    },
    /// So many are.
    Many(usize),
}

impl Notice {
    /// Its first line.
    pub fn summary(&self) -> String {
        match self {
            Self::One { kind, .. } => format!("closedpaw asks: {kind}"),
            Self::Many(count) => format!("closedpaw: {count} questions are open"),
        }
    }

    /// Where to read what is asked, and how to answer.
    pub fn body(&self) -> String {
        match self {
            Self::One { id, .. } => {
                format!("closedpawctl approvals list, then closedpawctl approvals approve {}", id.short())
            }
            Self::Many(_) => "closedpawctl approvals list".to_owned(),
        }
    }
}

struct Open {
    kind: &'static str,
    until: Instant,
}

/// The open questions, and those among them that the desktop has not been told of.
#[derive(Default)]
pub struct Notices {
    open: BTreeMap<ApprovalId, Open>,
    fresh: BTreeSet<ApprovalId>,
    last: Option<Instant>,
}

impl Notices {
    /// A question is open. One that is known already is no news.
    pub fn asked(&mut self, question: &Question) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(question.until).saturating_sub(now).min(LONGEST);
        let open = Open { kind: question.action.effect.name(), until: Instant::now() + left };
        if self.open.insert(question.id, open).is_none() {
            self.fresh.insert(question.id);
        }
    }

    /// A question is not open any more.
    pub fn over(&mut self, id: ApprovalId) {
        self.open.remove(&id);
        self.fresh.remove(&id);
    }

    /// None is, as far as is known.
    pub fn none_open(&mut self) {
        self.open.clear();
        self.fresh.clear();
    }

    /// The next notification, as soon as there is something to tell and the last one is long enough ago. Cancel-safe.
    pub async fn next(&mut self) -> Notice {
        loop {
            if self.fresh.is_empty() {
                pending::<()>().await;
            }
            if let Some(last) = self.last {
                sleep_until(last + INTERVAL).await;
            }
            if let Some(notice) = self.take(Instant::now()) {
                return notice;
            }
        }
    }

    /// What is to be told now, which then has been told.
    fn take(&mut self, now: Instant) -> Option<Notice> {
        // Whoever may answer a question that another user's agent asks is not told that it lapsed.
        self.open.retain(|_, open| now < open.until);
        self.fresh.retain(|id| self.open.contains_key(id));
        self.fresh.pop_first()?;
        self.fresh.clear();
        self.last = Some(now);
        let mut all = self.open.iter();
        match (all.next(), all.next()) {
            (Some((id, open)), None) => Some(Notice::One { kind: open.kind, id: *id }),
            _ => Some(Notice::Many(self.open.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::{Action, Effect, Label, Revision, SessionId, Stdin, Tier};
    use tokio::time::{advance, timeout};

    /// What an agent's words could do if they got to a desktop.
    const HOSTILE: &str = "<a href=\"https://evil.example/?c\">click</a>\n\u{1b}[2J--action=x";

    fn question(number: u8, wait: u64) -> Question {
        let action = Action {
            session: SessionId([1; 16]),
            revision: Revision([2; 32]),
            isolation: Tier::Gvisor,
            profile: HOSTILE.into(),
            effect: Effect::Exec {
                argv: vec![HOSTILE.into()],
                cwd: HOSTILE.into(),
                env: vec![(HOSTILE.into(), HOSTILE.into())],
                stdin: Stdin::Empty,
            },
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Question {
            id: ApprovalId([number; 16]),
            digest: action.seal().unwrap().1,
            action,
            label: Label::default(),
            workspace: HOSTILE.into(),
            rule: HOSTILE.into(),
            why: HOSTILE.into(),
            uid: 1000,
            until: now + wait,
            wanted: 1,
            lease: false,
        }
    }

    /// What there is to tell at this moment.
    async fn told(notices: &mut Notices) -> Option<Notice> {
        timeout(Duration::ZERO, notices.next()).await.ok()
    }

    /// Rows P4 and I2: every word is known beforehand.
    #[tokio::test(start_paused = true)]
    async fn nothing_that_a_model_chose_is_told() {
        let mut notices = Notices::default();
        notices.asked(&question(0xab, 3600));
        let notice = told(&mut notices).await.unwrap();
        assert_eq!(notice.summary(), "closedpaw asks: exec");
        assert_eq!(
            notice.body(),
            "closedpawctl approvals list, then closedpawctl approvals approve abababab"
        );
        assert_eq!(Notice::Many(7).summary(), "closedpaw: 7 questions are open");
        assert_eq!(Notice::Many(7).body(), "closedpawctl approvals list");
    }

    /// Row P8: two hundred questions in a minute.
    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_as_one_number_an_interval() {
        let mut notices = Notices::default();
        let began = Instant::now();
        let mut heard = Vec::new();
        for number in 0..200 {
            notices.asked(&question(number, 3600));
            heard.extend(told(&mut notices).await.map(|notice| (began.elapsed(), notice)));
            advance(Duration::from_millis(300)).await;
        }
        let counts: Vec<_> = heard.iter().map(|(_, notice)| *notice).collect();
        let first = Notice::One { kind: "exec", id: ApprovalId([0; 16]) };
        // The 67th comes after 19.8 s, the 68th after 20.1.
        assert_eq!(counts, [first, Notice::Many(68), Notice::Many(135)]);
        for pair in heard.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= INTERVAL, "{heard:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_meanwhile_is_told_when_the_interval_is_over() {
        let mut notices = Notices::default();
        notices.asked(&question(1, 3600));
        assert!(told(&mut notices).await.is_some());
        notices.asked(&question(2, 3600));
        advance(INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(told(&mut notices).await, None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(told(&mut notices).await, Some(Notice::Many(2)));
        // The same again is no news.
        notices.asked(&question(2, 3600));
        advance(INTERVAL).await;
        assert_eq!(told(&mut notices).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_or_lapsed_meanwhile_is_not_told() {
        let mut notices = Notices::default();
        for number in 1..=4 {
            notices.asked(&question(number, if number == 2 { 10 } else { 3600 }));
            if number == 1 {
                assert!(told(&mut notices).await.is_some());
            }
        }
        notices.over(ApprovalId([1; 16]));
        notices.over(ApprovalId([3; 16]));
        advance(INTERVAL).await;
        let only = Notice::One { kind: "exec", id: ApprovalId([4; 16]) };
        assert_eq!(told(&mut notices).await, Some(only));
        notices.asked(&question(5, 3600));
        notices.none_open();
        advance(INTERVAL).await;
        assert_eq!(told(&mut notices).await, None);
    }
}
