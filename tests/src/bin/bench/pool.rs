//! A command in a sandbox that nothing ran in before, in a session that is open: one that waited, or one that is started for it.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, must};
use crate::programs::bubblewrap;
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_protocol::Tier;
use closedpaw_protocol::message::{Reply, Request, Stage};
use closedpaw_tests::tiers;
use closedpaw_tests::world::World;
use std::time::{Duration, Instant};

const COUNT: u32 = 30;

/// How many wait, where any do.
const POOL: u32 = 2;

pub(crate) fn measure(_world: &World, report: &mut Report) {
    let world = tiers::builder(Tier::Gvisor).profiles(&tiers::apart(Tier::Gvisor, POOL)).build();
    let (mut ours, mut runsc, mut bwrap) = (Samples::default(), Samples::default(), Samples::default());
    client::run(async {
        let mut session = Session::open_in(&world, Tier::Gvisor).await;
        filled(&mut session).await;
        let bundle = Bundle::like(&world, &session.sandbox, "pool", &["/usr/bin/true"]);
        for _ in 0..COUNT {
            filled(&mut session).await;
            ours.push(one(&mut session).await);
            runsc.time(|| must(bundle.run()));
            bwrap.time(|| must(bubblewrap()));
        }
    });
    report.versus("sandbox_pool", Unit::Milliseconds, &ours, "runsc run", &runsc);
    report.versus("sandbox_pool_bwrap", Unit::Milliseconds, &ours, "bwrap", &bwrap);
    report.note("sandbox_pool: a command in a fresh gVisor sandbox that waited for it, from the request in an open session to its exit status; taken when the pool was full again");
    drop(world);
    process(report);
}

/// The same where the kernel is the host's, and nothing waits.
fn process(report: &mut Report) {
    let world = tiers::builder(Tier::Process).profiles(&tiers::apart(Tier::Process, 0)).build();
    let (mut ours, mut bwrap) = (Samples::default(), Samples::default());
    client::run(async {
        let mut session = Session::open_in(&world, Tier::Process).await;
        for _ in 0..2 * COUNT {
            ours.push(one(&mut session).await);
            alone(&mut session).await;
            bwrap.time(|| must(bubblewrap()));
        }
    });
    report.versus("sandbox_process", Unit::Milliseconds, &ours, "bwrap", &bwrap);
    report.note("sandbox_process: a command in a fresh sandbox of the tier process that is started for it, from the request in an open session to its exit status");
}

async fn one(session: &mut Session) -> Duration {
    let begun = Instant::now();
    session.run(&["true"]).await;
    begun.elapsed()
}

/// Waits until as many as there should be are clean, and what was used is gone.
async fn filled(session: &mut Session) {
    while stages(session).await != vec![Stage::Clean; POOL as usize] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the session has no sandbox but its own.
async fn alone(session: &mut Session) {
    while !stages(session).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Those of the session's sandboxes that are not its own.
async fn stages(session: &mut Session) -> Vec<Stage> {
    let (reply, _) = session.control.request(&Request::Sandboxes, &[]).await.unwrap();
    let Reply::Sandboxes(sandboxes) = reply else { panic!("no list: {reply:?}") };
    let others = sandboxes.iter().filter(|sandbox| sandbox.id.to_string() != session.sandbox);
    others.map(|sandbox| sandbox.stage).collect()
}
