//! `closedpawctl approvals`: the open questions, from any terminal of the person's.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::{Connection, Daemon, Unanswered};
use crate::console::prompt;
use crate::console::screen;
use crate::console::session::Person;
use crate::failure::Failure;
use closedpaw_protocol::message::{Answer, Question, Reply, Request};
use closedpaw_protocol::{ErrorCode, Refusal};
use serde_json::json;

/// What to do with them.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Show them, whole.
    #[command(after_help = "Example:\n  closedpawctl approvals list --json")]
    List,
    /// Say yes to one, once.
    #[command(after_help = "Example:\n  closedpawctl approvals approve 3f2a…")]
    Approve {
        /// Its id, or the beginning of one.
        id: String,
    },
    /// Say no to one.
    #[command(after_help = "Example:\n  closedpawctl approvals deny 3f2a…")]
    Deny {
        /// Its id, or the beginning of one.
        id: String,
    },
}

/// Does it.
pub async fn run(word: Word, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    match word {
        Word::List => list(&questions(&mut connection).await?, as_json),
        Word::Approve { id } => answer(&mut connection, &id, true).await?,
        Word::Deny { id } => answer(&mut connection, &id, false).await?,
    }
    Ok(())
}

/// The open questions this person may answer.
pub(super) async fn questions(connection: &mut Connection) -> Result<Vec<Question>, Unanswered> {
    match connection.request(&Request::Questions, &[]).await? {
        (Reply::Questions(questions), _) => Ok(questions),
        _ => Err(Unanswered::Lost(Failure::lost("another answer than questions"))),
    }
}

/// What there is to a question, for programs.
pub(super) fn fields(question: &Question) -> serde_json::Value {
    json!({
        "id": question.id.to_string(),
        "digest": question.digest.to_string(),
        "action": question.action.summary(),
        "label": question.label.to_string(),
        "workspace": question.workspace,
        "rule": question.rule,
        "why": question.why,
        "uid": question.uid,
        "until": question.until,
    })
}

fn list(questions: &[Question], as_json: bool) {
    if as_json {
        let all: Vec<_> = questions.iter().map(fields).collect();
        return json(&json!(all));
    }
    if questions.is_empty() {
        return line("no open questions");
    }
    for question in questions {
        line(&format!("id {}", question.id));
        if let Some(block) = prompt::block(question) {
            screen::out(&format!("{block}\n"));
        }
    }
}

async fn answer(connection: &mut Connection, id: &str, granted: bool) -> Result<(), Failure> {
    let unknown = || Failure::from(Refusal::from(ErrorCode::ApprovalUnknown));
    let questions = questions(connection).await?;
    let mut fitting =
        questions.iter().filter(|question| id.len() >= 4 && question.id.to_string().starts_with(id));
    let (Some(question), None) = (fitting.next(), fitting.next()) else { return Err(unknown()) };
    // What is signed is the digest of what is shown here, not the one the daemon names.
    let shown = prompt::block(question).ok_or_else(unknown)?;
    let (_, digest) = question.action.seal().ok_or_else(unknown)?;
    screen::err(&format!("{shown}\n"));
    let answer = Answer { id: question.id, digest, revision: question.action.revision, granted };
    connection.answer(&answer).await?;
    line(if granted { "approved, once" } else { "denied" });
    Ok(())
}
