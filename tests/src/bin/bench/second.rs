//! A further command in a sandbox that runs, beside `runsc exec`.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, Detached, must};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_protocol::message::Request;
use closedpaw_tests::world::World;
use std::fs;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// Commands in a row before the other's turn. A session's commands come one after the other; in turns of one, each
/// sandbox is measured as it wakes from the other's run.
const ROUND: u32 = 10;

const ROUNDS: u32 = 12;

pub(crate) fn measure(world: &World, report: &mut Report) {
    client::run(async {
        let mut session = Session::open(world).await;
        session.run(&["true"]).await;
        let like = |name, argv: &[&str]| Bundle::like(world, &session.sandbox, name, argv);
        let bundle = like("second", &["/usr/bin/sleep", "1000000"]);
        let (bare, floor) =
            (like("floor", &["/workspace/floor", "--floor"]), world.person.workspace.join("floor"));
        fs::copy(std::env::current_exe().unwrap(), floor).unwrap();
        let detached = Detached::start(&bundle);
        let mut bare = Bare::start(&bare);
        turns(&mut session, &mut bare, &detached, (ROUND, ROUNDS), "sandbox_second", report).await;
        turns(&mut session, &mut bare, &detached, (1, ROUND * ROUNDS), "sandbox_second_idle", report).await;
        report.note("sandbox_second: in turns of ten commands each; _idle: in turns of one, so that each sandbox wakes from the others' runs");
        report.note("sandbox_second_floor: the same gVisor with nothing of ClosedPaw: a byte in, posix_spawn and wait as process 1, a byte out");
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
}

/// Ours, the least that can be, and the peer, in turns of so many commands each, so many times.
async fn turns(
    session: &mut Session,
    bare: &mut Bare,
    detached: &Detached<'_>,
    (round, rounds): (u32, u32),
    name: &'static str,
    report: &mut Report,
) {
    let (mut ours, mut least, mut theirs) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds {
        for _ in 0..round {
            let begun = Instant::now();
            session.run(&["true"]).await;
            ours.push(begun.elapsed());
        }
        for _ in 0..round {
            least.time(|| bare.spawn());
        }
        for _ in 0..round {
            theirs.time(|| must(detached.exec("/usr/bin/true")));
        }
    }
    report.versus(name, Unit::Milliseconds, &ours, "runsc exec", &theirs);
    report.versus(&format!("{name}_floor"), Unit::Milliseconds, &least, "runsc exec", &theirs);
}

/// A sandbox whose process 1 is this very program as [`floor`].
struct Bare {
    runtime: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Bare {
    fn start(bundle: &Bundle) -> Self {
        let mut command = bundle.run();
        let mut runtime = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (runtime.stdin.take().unwrap(), runtime.stdout.take().unwrap());
        let mut bare = Self { runtime, to, from };
        bare.spawn();
        bare
    }

    fn spawn(&mut self) {
        let mut answer = [1];
        self.to.write_all(&[0]).unwrap();
        self.from.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0], "the program's exit status");
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.runtime.kill());
        drop(self.runtime.wait());
    }
}

/// Starts `true` for every byte that comes and answers with how it ended, until none comes.
pub(crate) fn floor() {
    let (mut from, mut to, mut byte) = (io::stdin(), io::stdout(), [0]);
    while from.read_exact(&mut byte).is_ok() {
        let ended = Command::new("/usr/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).status();
        let code = ended.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
        to.write_all(&[code.unwrap_or(255)]).and_then(|()| to.flush()).unwrap();
    }
}
