//! The first command, with nothing warm: the whole client's process beside `runsc run`, and where the time goes.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, must};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_protocol::message::Request;
use closedpaw_tests::raw;
use closedpaw_tests::world::{World, closedpawctl};
use closedpawctl::client::fresh_key;
use closedpawctl::work::{self, Said};
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const COUNT: u32 = 30;

pub(crate) fn measure(world: &World, report: &mut Report) {
    whole(world, &bundle(world, "cold"), report);
}

/// The bundle of a session's sandbox, for `true`.
fn bundle(world: &World, name: &str) -> Bundle {
    client::run(async {
        let mut session = Session::open(world).await;
        session.run(&["true"]).await;
        let bundle = Bundle::like(world, &session.sandbox, name, &["/usr/bin/true"]);
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
        nothing_runs(world);
        bundle
    })
}

/// What the person waits for. The sandbox is taken down afterwards, which nobody waits for but the next sample.
fn whole(world: &World, bundle: &Bundle, report: &mut Report) {
    let (mut ours, mut gone, mut theirs) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..COUNT {
        let begun = Instant::now();
        let output = run_true(world);
        let took = begun.elapsed();
        nothing_runs(world);
        if output.status.success() {
            ours.push(took);
            gone.push(begun.elapsed());
        } else {
            report.failed(format!("closedpawctl run: {output:?}"));
        }
        theirs.time(|| must(bundle.run()));
    }
    report.versus("sandbox_cold", Unit::Milliseconds, &ours, "runsc run", &theirs);
    report.versus("sandbox_cold_and_gone", Unit::Milliseconds, &gone, "runsc run", &theirs);
    report.note("sandbox_cold_and_gone: until the sandbox's processes and folders are gone, which runsc run waits for and closedpawctl does not");
}

fn run_true(world: &World) -> Output {
    let mut command = Command::new(closedpawctl());
    command.args(["run", "--quiet", "--", "true"]).current_dir(&world.person.workspace);
    command.env_clear().env("HOME", &world.person.home).env("PATH", "/usr/bin:/bin");
    command.env("CLOSEDPAW_SOCKET", world.socket()).stdin(Stdio::null());
    world.person.become_for(|| command.output().unwrap())
}

fn nothing_runs(world: &World) {
    let sandboxes = world.run().join("sandboxes");
    loop {
        if fs::read_dir(&sandboxes).unwrap().next().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The steps of the client's way, in order.
const STEPS: [&str; 7] = [
    "cold_connect",
    "cold_open",
    "cold_more_connections",
    "cold_until_ready",
    "cold_work",
    "cold_close",
    "cold_consistency",
];

/// The same way by the client as a library, each step timed.
pub(crate) fn steps(world: &World, report: &mut Report) {
    let mut times = STEPS.map(|_| Samples::default());
    for _ in 0..COUNT {
        let steps = client::run(way(world));
        times.iter_mut().zip(steps).for_each(|(times, step)| times.push(step));
        nothing_runs(world);
    }
    for (name, times) in STEPS.iter().zip(&times) {
        report.times(name, Unit::Milliseconds, times);
    }
    report.note("cold_*: the steps of sandbox_cold by the client as a library; the rest is the process itself and its own files");
}

async fn way(world: &World) -> [Duration; STEPS.len()] {
    let mut clock = Clock(Instant::now());
    let mut control = client::connect(world, world.person.key()).await;
    let connect = clock.step();
    let key = fresh_key().unwrap();
    let (mut seat, _) = client::open(&mut control, world, &key).await;
    let open = clock.step();
    let mut events = client::connect(world, world.person.key()).await;
    events.request(&Request::Watch, &[]).await.unwrap();
    let mut agent = client::connect(world, key).await;
    let more = clock.step();
    let running = work::start(&mut agent, &mut seat, &raw::exec(&["true"]), None).await.unwrap();
    let ready = clock.step();
    let (mut listening, _feeding) = running.split();
    while !matches!(listening.next().await, Said::Exit(_)) {}
    let work = clock.step();
    control.request(&Request::Close { session: seat.session }, &[]).await.unwrap();
    let close = clock.step();
    let size = control.head().unwrap().size;
    control.request(&Request::Consistency { size }, &[]).await.unwrap();
    [connect, open, more, ready, work, close, clock.step()]
}

/// Gives the time since it was last asked.
struct Clock(Instant);

impl Clock {
    fn step(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

/// The call of the runtime that the launcher makes, with nothing around it.
pub(crate) fn runtime_alone(world: &World, report: &mut Report) {
    let bundle = bundle(world, "alone");
    let (mut run, mut itself) = (Samples::default(), Samples::default());
    let mut ended = vec![];
    for _ in 0..COUNT {
        let id = bundle.fresh();
        run.time(|| must(bundle.run_detached(&id)));
        itself.time(|| must(bundle.version()));
        ended.push(id);
    }
    // All at once: each waits a second or more for the kernel to forget its processes.
    let deletions: Vec<_> = ended.iter().map(|id| bundle.delete(id).spawn().unwrap()).collect();
    for mut deletion in deletions {
        drop(deletion.wait());
    }
    report.times("runsc_run_detach", Unit::Milliseconds, &run);
    report.times("runsc_version", Unit::Milliseconds, &itself);
}
