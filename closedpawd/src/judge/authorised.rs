//! Third: what policy says, on the label joined with the action's own sources.
#![forbid(unsafe_code)]

use super::authenticated::{Authenticated, Speaker};
use super::clock;
use super::policy::InForce;
use super::received::Statement;
use super::sessions::{self, Session};
use super::staged::Layer;
use super::state::State;
use closedpaw_protocol::message::{Event, Opening, Request};
use closedpaw_protocol::{
    Action, ApprovalId, Digest, Effect, ErrorCode, Label, Refusal, SandboxId, SandboxVerb, SessionId, Tier,
    action,
};
use closedpaw_rules::{Decision, Grounded, Query, Subject, Verdict, WorkspaceMount};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The longest that a session may stay open, in seconds.
pub(super) const LONGEST: u64 = 7 * 24 * 3600;

/// What will be carried out if it comes to that.
pub(super) enum Deed {
    Open(Opening),
    Work(Rc<Session>),
    Apply(Rc<Layer>),
    Kill(closedpaw_protocol::SandboxId),
    Checkpoint(Rc<Session>),
    Restore(Rc<Session>),
    List,
    Log,
    Consistency(u64),
    Halt { on: bool, all: bool },
}

/// A statement with the action it comes to, and what policy says to that.
pub(super) struct Authorised {
    pub(super) speaker: Speaker,
    pub(super) deed: Deed,
    pub(super) action: Action,
    pub(super) digest: Digest,
    pub(super) label: Label,
    pub(super) approval: Option<ApprovalId>,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) policy: Rc<InForce>,
    pub(super) decision: Decision,
}

impl Authenticated {
    /// Decides. A denial is told to the person's consoles, with the rule; the asker gets the code.
    pub(super) fn authorise(self, state: &State) -> Result<Authorised, Refusal> {
        let policy = state.policy();
        let Self { speaker, statement, descriptors } = self;
        let (deed, action, approval) = deed(&speaker, statement, &policy, state)?;
        check(&speaker, &deed, &action, &descriptors, &policy, state)?;
        let (_, digest) = action.seal().ok_or(ErrorCode::TooLarge)?;
        let label = match &deed {
            Deed::Work(session) => session.label.borrow().join(&session.sources()),
            Deed::Apply(layer) => layer.label.clone(),
            Deed::Open(opening) => opening.label.clone(),
            // What is saved stays in the session, and what it has read with it.
            Deed::Kill(_)
            | Deed::Checkpoint(_)
            | Deed::Restore(_)
            | Deed::List
            | Deed::Log
            | Deed::Consistency(_)
            | Deed::Halt { .. } => Label::default(),
        };
        let decision = decide(&policy, &speaker, &action, &label, &[]);
        if let Verdict::Deny { .. } = decision.verdict {
            return Err(denied(&speaker, action, label, &decision, state));
        }
        Ok(Authorised { speaker, deed, action, digest, label, approval, descriptors, policy, decision })
    }
}

/// One decision, with what has been said to it so far.
pub(super) fn decide(
    policy: &InForce,
    speaker: &Speaker,
    action: &Action,
    label: &Label,
    approvals: &[closedpaw_rules::Approval<'_>],
) -> Decision {
    let subject = Subject { uid: speaker.uid, groups: &speaker.groups, role: speaker.role };
    let now = clock::seconds();
    closedpaw_rules::decide(
        &policy.policy,
        &Query { subject, action, label, grounded: Grounded::NONE, approvals, now },
    )
}

/// Tells the person why; the refusal itself says no more than that.
pub(super) fn denied(
    speaker: &Speaker,
    action: Action,
    label: Label,
    decision: &Decision,
    state: &State,
) -> Refusal {
    let rule = decision.rule.as_deref().unwrap_or_default().to_owned();
    let why = decision.why.clone().unwrap_or_default();
    let detail = match (&speaker.session, rule.as_str()) {
        (Some(_), _) => String::new(),
        (None, "") => "no rule allows it".to_owned(),
        (None, rule) => format!("by the rule \"{rule}\""),
    };
    let event = Event::Denied { session: action.session, action: Box::new(action), rule, why, label };
    state.watchers.tell(&event, speaker.uid, None);
    Refusal::because(ErrorCode::Denied, detail)
}

/// The deed and the action that policy decides on. What no session asks for has the zero session.
fn deed(
    speaker: &Speaker,
    statement: Statement,
    policy: &InForce,
    state: &State,
) -> Result<(Deed, Action, Option<ApprovalId>), Refusal> {
    let of_person = |effect| Action {
        session: SessionId([0; 16]),
        revision: policy.revision,
        isolation: Tier::Gvisor,
        profile: String::new(),
        effect,
    };
    let sandbox = |verb, id| of_person(Effect::Sandbox { verb, id });
    let request = match statement {
        Statement::Opening(opening) => {
            let workspace = opening.workspace.clone().unwrap_or_default();
            let (isolation, profile) = (opening.isolation, opening.profile.clone());
            let effect = Effect::Open { workspace, trusted: opening.trusted };
            return Ok((Deed::Open(opening), Action { isolation, profile, ..of_person(effect) }, None));
        }
        Statement::Request(request) => request,
        Statement::Answer(_) => return Err(ErrorCode::Internal.into()),
    };
    match request {
        Request::Act { action, approval } => {
            let session = speaker.session.clone().filter(|session| session.id == action.session);
            let session = session.ok_or(ErrorCode::UnknownSession)?;
            Ok((Deed::Work(session), action, approval))
        }
        Request::Apply { action } => {
            let layer = state.layer(speaker.uid, action.session)?;
            Ok((Deed::Apply(layer), action, None))
        }
        Request::Kill { sandbox: id } => {
            own(speaker, id, state)?;
            Ok((Deed::Kill(id), sandbox(SandboxVerb::Kill, Some(id)), None))
        }
        Request::Checkpoint { sandbox: id } => {
            let deed = Deed::Checkpoint(own(speaker, id, state)?);
            Ok((deed, sandbox(SandboxVerb::Checkpoint, Some(id)), None))
        }
        Request::Restore { sandbox: id } => {
            let deed = Deed::Restore(own(speaker, id, state)?);
            Ok((deed, sandbox(SandboxVerb::Restore, Some(id)), None))
        }
        Request::Sandboxes => Ok((Deed::List, sandbox(SandboxVerb::List, None), None)),
        Request::Log => Ok((Deed::Log, of_person(Effect::Log), None)),
        Request::Consistency { size } => Ok((Deed::Consistency(size), of_person(Effect::Log), None)),
        Request::Halt { on, all } => {
            let verb = if on { SandboxVerb::Stop } else { SandboxVerb::Start };
            let effect = match all {
                true => Effect::Admin { verb: verb.name().to_owned() },
                false => Effect::Sandbox { verb, id: None },
            };
            Ok((Deed::Halt { on, all }, of_person(effect), None))
        }
        Request::Close { .. }
        | Request::Watch
        | Request::Questions
        | Request::Keys
        | Request::Resume { .. }
        | Request::Status
        | Request::Staged { .. }
        | Request::Discard { .. }
        | Request::Applied { .. }
        | Request::Changes { .. } => Err(ErrorCode::Internal.into()),
    }
}

/// The session of a sandbox of the speaker's.
fn own(speaker: &Speaker, id: SandboxId, state: &State) -> Result<Rc<Session>, ErrorCode> {
    let session = state.sessions.borrow().by_sandbox(id).filter(|session| session.uid == speaker.uid);
    session.ok_or(ErrorCode::UnknownSandbox)
}

/// What has to be right before policy is asked at all.
fn check(
    speaker: &Speaker,
    deed: &Deed,
    action: &Action,
    descriptors: &[OwnedFd],
    policy: &InForce,
    state: &State,
) -> Result<(), Refusal> {
    match deed {
        Deed::Work(session) => check_work(session, action, descriptors, policy, state),
        Deed::Apply(layer) => check_apply(layer, action, policy, state),
        Deed::Open(_) | Deed::Restore(_) if state.halts.hold(speaker.uid) => Err(ErrorCode::Halted.into()),
        Deed::Open(opening) => check_opening(opening, speaker.uid, descriptors, policy, state),
        Deed::Checkpoint(session) | Deed::Restore(session) => session.can_be_saved(),
        Deed::Kill(_) | Deed::List | Deed::Log | Deed::Consistency(_) | Deed::Halt { .. } => Ok(()),
    }
}

fn check_work(
    session: &Session,
    action: &Action,
    descriptors: &[OwnedFd],
    policy: &InForce,
    state: &State,
) -> Result<(), Refusal> {
    if state.halts.hold(session.uid) {
        return Err(ErrorCode::Halted.into());
    }
    if action.revision != policy.revision {
        return Err(Refusal::because(ErrorCode::PolicyChanged, policy.revision.to_string()));
    }
    if action.isolation != session.isolation || action.profile != session.profile {
        return Err(ErrorCode::TierMissing.into());
    }
    let profile = policy.profiles.get(&session.profile).ok_or(ErrorCode::UnknownProfile)?;
    match &action.effect {
        Effect::Exec { env, argv, .. } => {
            if argv.is_empty() || argv.iter().any(|word| word.contains('\0')) {
                return Err(ErrorCode::Malformed.into());
            }
            let mut names: Vec<&String> = env.iter().map(|(name, _)| name).collect();
            names.sort();
            let twice = names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
            // A variable may be set if the profile lists its name, or sets it to exactly that itself.
            let fixed = |name: &String| {
                env.iter().filter(|pair| pair.0 == *name).all(|pair| profile.environment.contains(pair))
            };
            if let Some(name) = names.iter().find(|name| !profile.env.contains(name) && !fixed(name)) {
                return Err(Refusal::because(ErrorCode::EnvironmentForbidden, action::visible(name)));
            }
            if twice || env.iter().any(|(_, value)| value.contains('\0')) {
                return Err(ErrorCode::Malformed.into());
            }
        }
        Effect::List { .. } | Effect::Read { .. } | Effect::Write { .. } => {}
        Effect::Open { .. }
        | Effect::Apply { .. }
        | Effect::Sandbox { .. }
        | Effect::Log
        | Effect::Admin { .. } => {
            return Err(ErrorCode::KeyRole.into());
        }
        Effect::Mount { .. }
        | Effect::Fetch { .. }
        | Effect::Connect { .. }
        | Effect::Cloud { .. }
        | Effect::Secret { .. }
        | Effect::Send { .. }
        | Effect::Remember { .. }
        | Effect::Schedule { .. }
        | Effect::Skill { .. }
        | Effect::Tool { .. } => return Ok(()),
    }
    check_inputs(action, descriptors)
}

/// Work is carried over as it was shown: nothing was granted in its session since.
fn check_apply(layer: &Layer, action: &Action, policy: &InForce, state: &State) -> Result<(), Refusal> {
    if state.halts.hold(layer.uid) {
        return Err(ErrorCode::Halted.into());
    }
    if action.revision != policy.revision {
        return Err(Refusal::because(ErrorCode::PolicyChanged, policy.revision.to_string()));
    }
    if action.isolation != layer.isolation || action.profile != layer.profile {
        return Err(ErrorCode::TierMissing.into());
    }
    match &action.effect {
        Effect::Apply { paths, .. } if paths.is_empty() => Err(ErrorCode::Malformed.into()),
        Effect::Apply { generation, .. } if *generation != layer.generation => {
            Err(Refusal::because(ErrorCode::StagedChanged, "more was done in the session since"))
        }
        Effect::Apply { .. } => Ok(()),
        _ => Err(Refusal::because(ErrorCode::Malformed, action.effect.name())),
    }
}

/// The stream, and the sealed input if there is one. The relay reads and compares it; here it must be unchangeable.
fn check_inputs(action: &Action, descriptors: &[OwnedFd]) -> Result<(), Refusal> {
    let sealed = action.effect.sealed();
    if descriptors.len() != 1 + usize::from(sealed.is_some()) {
        return Err(ErrorCode::InputMissing.into());
    }
    match (sealed, descriptors.get(1)) {
        (Some(claim), Some(file)) if !closedpaw_descriptors::sealed::is_sealed(file, claim.length) => {
            Err(ErrorCode::InputUnsealed.into())
        }
        _ => Ok(()),
    }
}

fn check_opening(
    opening: &Opening,
    uid: u32,
    descriptors: &[OwnedFd],
    policy: &InForce,
    state: &State,
) -> Result<(), Refusal> {
    let now = clock::seconds();
    if opening.workspace.is_some() != (descriptors.len() == 1) {
        return Err(ErrorCode::WorkspaceMissing.into());
    }
    if opening.expires <= now || opening.expires > now + LONGEST || !opening.label.is_well_formed() {
        return Err(Refusal::because(ErrorCode::Malformed, "the session's end or label makes no sense"));
    }
    let profile = policy.profiles.get(&opening.profile);
    let profile = profile
        .ok_or_else(|| Refusal::because(ErrorCode::UnknownProfile, action::visible(&opening.profile)))?;
    // Never another tier than the profile's, and none that this machine cannot give. What gVisor lacks the start itself says.
    if opening.isolation != profile.isolation {
        let detail = format!(
            "{} was asked for, {} is the profile's",
            opening.isolation.name(),
            profile.isolation.name()
        );
        return Err(Refusal::because(ErrorCode::TierMissing, detail));
    }
    if let Some(Err(lacking)) = state.tiers.get(&opening.isolation) {
        return Err(Refusal::because(ErrorCode::TierMissing, lacking.clone()));
    }
    if opening.workspace.is_some() {
        state.room_for_layer(uid)?;
    }
    if profile.workspace == WorkspaceMount::None && opening.workspace.is_some() {
        return Err(Refusal::because(ErrorCode::WorkspaceForbidden, "the profile shows no workspace"));
    }
    let here = crate::launcher::available_limits();
    let missing: Vec<&str> =
        profile.require.iter().map(|limit| limit.name()).filter(|limit| !here.contains(limit)).collect();
    if !missing.is_empty() {
        return Err(Refusal::because(ErrorCode::LimitsMissing, missing.join(", ")));
    }
    for device in &profile.devices {
        if let Err(lacking) = crate::launcher::found_device(*device) {
            let detail = format!("{}: {lacking}", device.name());
            return Err(Refusal::because(ErrorCode::DeviceMissing, detail));
        }
    }
    let known = |session: &Rc<Session>| session.agent == opening.agent;
    if state.keys.borrow().get(&opening.agent).is_some() || state.sessions.borrow().all().any(known) {
        return Err(Refusal::because(ErrorCode::Malformed, "the agent's key is not a fresh one"));
    }
    Ok(())
}

/// How many more sessions a user may have.
pub(super) fn room_for_session(uid: u32, state: &State) -> Result<(), ErrorCode> {
    let count = state.sessions.borrow().of_user(uid).len();
    if count < sessions::MOST { Ok(()) } else { Err(ErrorCode::TooManySessions) }
}
