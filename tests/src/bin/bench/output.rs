//! How fast a program's output comes out, beside a plain pipe out of the same runtime.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::Bundle;
use crate::report::Report;
use crate::samples::Unit;
use closedpaw_protocol::message::Request;
use closedpaw_protocol::stream::Exit;
use closedpaw_tests::raw;
use closedpaw_tests::world::World;
use closedpawctl::work::{self, Said};
use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

/// What comes out each time.
const BYTES: &str = "536870912";

const COUNT: usize = 11;

/// The shipped profile, but for how much one command may say.
const PROFILE: &str = "version = 1\n[[profile]]\nname = \"default\"\nisolation = \"gvisor\"\nmounts = { workspace = \"layer\" }\n[profile.limits]\noutput = \"4GiB\"\n";

const HEAD: &str = "version = 1\n[[rule]]\nname = \"head\"\nallow = [\"exec\"]\nargv = [[\"head\", \"**\"]]\nrole = [\"agent\"]\nlabels = { untrusted = [\"workspace\"] }\n";

pub(crate) fn measure(_: &World, report: &mut Report) {
    let world = World::builder().profiles(PROFILE).build();
    world.write_policy("50-head.toml", HEAD);
    let (mut ours, mut theirs) = (vec![], vec![]);
    client::run(async {
        let mut session = Session::open(&world).await;
        session.run(&["true"]).await;
        let argv = ["/usr/bin/head", "-c", BYTES, "/dev/zero"];
        let bundle = Bundle::like(&world, &session.sandbox, "output", &argv);
        for _ in 0..COUNT {
            ours.push(out_of(&mut session).await);
            theirs.push(pipe(&bundle));
        }
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
    let (ours, theirs) = (median(ours), median(theirs));
    report.beside("stream_out", Unit::MegabytesPerSecond, ours, "a pipe out of runsc run", theirs, COUNT);
    report.note("stream_out: 512 MiB of /dev/zero by head, from the first byte that arrives to the last; by way of init, relay and the client's library");
}

async fn out_of(session: &mut Session) -> f64 {
    let argv = ["head", "-c", BYTES, "/dev/zero"];
    let running = work::start(&mut session.agent, &mut session.seat, &raw::exec(&argv), None).await.unwrap();
    let (mut listening, _feeding) = running.split();
    let (mut begun, mut bytes) = (None, 0);
    loop {
        match listening.next().await {
            Said::Stdout(part) => {
                if begun.replace(begun.unwrap_or_else(Instant::now)).is_some() {
                    bytes += part.len();
                }
            }
            Said::Stderr(_) => {}
            Said::Exit(exit) => {
                assert_eq!(exit, Exit::Status(0));
                return rate(bytes, begun.unwrap());
            }
        }
    }
}

fn pipe(bundle: &Bundle) -> f64 {
    let mut command = bundle.run();
    let mut runtime = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = runtime.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 16];
    output.read_exact(&mut [0]).unwrap();
    let (begun, mut bytes) = (Instant::now(), 0);
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            read => bytes += read,
        }
    }
    let rate = rate(bytes, begun);
    assert!(runtime.wait().unwrap().success());
    rate
}

/// Millions of bytes a second.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(bytes: usize, begun: Instant) -> f64 {
    bytes as f64 / begun.elapsed().as_secs_f64() / 1e6
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
