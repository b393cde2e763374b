//! A further command in a sandbox that runs, beside `runsc exec`.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, Detached, must};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_protocol::message::Request;
use closedpaw_tests::world::World;
use std::time::Instant;

const COUNT: u32 = 100;

pub(crate) fn measure(world: &World, report: &mut Report) {
    client::run(async {
        let mut session = Session::open(world).await;
        session.run(&["true"]).await;
        let bundle = Bundle::like(world, &session.sandbox, "second", &["/usr/bin/sleep", "1000000"]);
        let detached = Detached::start(&bundle);
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for _ in 0..COUNT {
            let begun = Instant::now();
            session.run(&["true"]).await;
            ours.push(begun.elapsed());
            theirs.time(|| must(detached.exec("/usr/bin/true")));
        }
        report.versus("sandbox_second", Unit::Milliseconds, &ours, "runsc exec", &theirs);
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
}
