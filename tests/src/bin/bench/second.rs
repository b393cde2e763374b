//! A further command in a sandbox that runs, beside `runsc exec`.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, Detached, must};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_protocol::message::Request;
use closedpaw_tests::world::World;
use std::time::Instant;

/// Commands in a row before the other's turn. A session's commands come one after the other; in turns of one, each
/// sandbox is measured as it wakes from the other's run.
const ROUND: u32 = 10;

const ROUNDS: u32 = 12;

pub(crate) fn measure(world: &World, report: &mut Report) {
    client::run(async {
        let mut session = Session::open(world).await;
        session.run(&["true"]).await;
        let bundle = Bundle::like(world, &session.sandbox, "second", &["/usr/bin/sleep", "1000000"]);
        let detached = Detached::start(&bundle);
        turns(&mut session, &detached, ROUND, ROUNDS, "sandbox_second", report).await;
        turns(&mut session, &detached, 1, ROUND * ROUNDS, "sandbox_second_idle", report).await;
        report.note("sandbox_second: in turns of ten commands each; sandbox_second_idle: in turns of one, so that each sandbox wakes from the other's run");
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
}

/// Ours and the peer in turns of `round` commands each.
async fn turns(
    session: &mut Session,
    detached: &Detached<'_>,
    round: u32,
    rounds: u32,
    name: &'static str,
    report: &mut Report,
) {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        for _ in 0..round {
            let begun = Instant::now();
            session.run(&["true"]).await;
            ours.push(begun.elapsed());
        }
        for _ in 0..round {
            theirs.time(|| must(detached.exec("/usr/bin/true")));
        }
    }
    report.versus(name, Unit::Milliseconds, &ours, "runsc exec", &theirs);
}
