//! The launcher keeps the capabilities that starting a sandbox takes, and no way to get others.
#![forbid(unsafe_code)]

use caps::{CapSet, Capability, CapsHashSet};

/// What mounting layers and starting a runtime in a user namespace take (capabilities(7)).
const NEEDED: [Capability; 12] = [
    // mounts, namespaces
    Capability::CAP_SYS_ADMIN,
    // the runtime's empty root, and its gofer's
    Capability::CAP_SYS_CHROOT,
    // id maps, reserved uids for relay and sandbox
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    // the layer's upper folder belongs to the person
    Capability::CAP_CHOWN,
    Capability::CAP_FOWNER,
    Capability::CAP_DAC_OVERRIDE,
    // the workspace of a person is closed to others
    Capability::CAP_DAC_READ_SEARCH,
    // ending sandboxes and relays, which run under other uids
    Capability::CAP_KILL,
    // the runtime's own tracing of its stubs
    Capability::CAP_SYS_PTRACE,
    // a sandbox, which runs under another uid, gives way
    Capability::CAP_SYS_NICE,
];

/// What a virtual machine's files are served with (virtiofsd), besides: where there are such machines.
const FOR_MACHINES: [Capability; 3] =
    [Capability::CAP_FSETID, Capability::CAP_MKNOD, Capability::CAP_SETFCAP];

/// Gives up everything else, in every set and for every child, and says what is left.
pub(super) fn drop_to_needed(machines: bool) -> Result<String, caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let wanted = NEEDED.into_iter().chain(FOR_MACHINES.into_iter().filter(|_| machines));
    let needed: CapsHashSet = wanted.filter(|capability| held.contains(capability)).collect();
    for capability in caps::read(None, CapSet::Bounding)?.difference(&needed) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)?;
    let mut names: Vec<String> = needed
        .iter()
        .map(|capability| capability.to_string().trim_start_matches("CAP_").to_lowercase())
        .collect();
    names.sort();
    Ok(names.join(" "))
}
