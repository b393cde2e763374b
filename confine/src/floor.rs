//! The oldest kernel whose confinement is what this project promises.
#![forbid(unsafe_code)]

use landlock::ABI;

/// Major and minor version.
pub const KERNEL: (u32, u32) = (6, 12);

/// The Landlock version that it has.
pub(crate) const LANDLOCK: ABI = ABI::V6;

/// What `uname -r` prints.
pub fn release() -> nix::Result<String> {
    Ok(nix::sys::utsname::uname()?.release().to_string_lossy().into_owned())
}

/// Whether a kernel of this release is as new as [`KERNEL`]; one that does not say is not.
#[must_use]
pub fn reached(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= KERNEL)
}
