//! Signed statements that start no sandbox: how long until the answer is there.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_descriptors::stream_pair;
use closedpaw_protocol::Action;
use closedpaw_protocol::message::{Answer, Question, Reply, Request};
use closedpaw_tests::raw;
use closedpaw_tests::world::World;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

const COUNT: u32 = 5000;
const DURABLE: u32 = 2000;

pub(crate) fn measure(world: &World, report: &mut Report) {
    client::run(async {
        let mut session = Session::open(world).await;
        // The sandbox that comes with a session is up before anything is timed.
        session.run(&["true"]).await;
        report.times("request", Unit::Microseconds, &plain(&mut session).await);
        let (ours, theirs, bytes) = durable(world, &mut session).await;
        report.versus("request_durable", Unit::Microseconds, &ours, "fdatasync", &theirs);
        report.note(format!("request_durable: an answer to a question, a record of {bytes} bytes; peer: append and fdatasync of as many"));
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
}

/// Signed, sent, checked, answered, with the log's head; nothing is written.
async fn plain(session: &mut Session) -> Samples {
    let mut samples = Samples::default();
    for _ in 0..COUNT {
        let begun = Instant::now();
        let (reply, _) = session.control.request(&Request::Questions, &[]).await.unwrap();
        samples.push(begun.elapsed());
        assert!(matches!(reply, Reply::Questions(_)));
    }
    samples
}

/// The answer to a question is on disk before it counts.
async fn durable(world: &World, session: &mut Session) -> (Samples, Samples, usize) {
    let path = world.root().join("fdatasync");
    let mut file = File::options().create(true).append(true).open(&path).unwrap();
    let (mut ours, mut theirs, mut line) = (Samples::default(), Samples::default(), vec![]);
    for number in 0..DURABLE {
        let question = ask(session, number).await;
        let answer = Answer { granted: false, ..raw::yes(&question) };
        let begun = Instant::now();
        session.control.answer(&answer).await.unwrap();
        ours.push(begun.elapsed());
        if line.is_empty() {
            line = vec![b'x'; length_of_answer(world)];
        }
        theirs.time(|| {
            file.write_all(&line).unwrap();
            file.sync_data().unwrap();
        });
    }
    (ours, theirs, line.len())
}

/// Something that the shipped policy asks about, another each time: the same would be the same question.
async fn ask(session: &mut Session, number: u32) -> Question {
    let effect = raw::exec(&["make", &number.to_string()]);
    let closedpawctl::link::Seat { session: id, revision, profile, isolation, .. } = session.seat.clone();
    let action = Action { session: id, revision, isolation, profile, effect };
    let (_ours, theirs) = stream_pair().unwrap();
    let request = Request::Act { action, approval: None };
    match session.agent.request(&request, &[theirs.as_fd()]).await.unwrap() {
        (Reply::Pending(question), _) => *question,
        (other, _) => panic!("not asked: {other:?}"),
    }
}

/// Bytes of the record that an answer leaves, its line feed counted.
fn length_of_answer(world: &World) -> usize {
    let lines = world.audit_lines();
    lines.iter().rev().find(|line| line.contains(r#""kind":"answered""#)).expect("the answer's record").len()
        + 1
}
