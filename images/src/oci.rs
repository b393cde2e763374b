//! Indexes, manifests and configurations, as far as they say what an image is made of (the OCI image specification 1.1).
#![forbid(unsafe_code)]

use closedpaw_protocol::image::{Fault, Sha256};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What an index may be called.
const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// And what a manifest.
const MANIFEST: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// And what a layer; which compression it has is told by its first bytes.
const LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.diff.tar"];

/// Where a part is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(default, rename = "mediaType")]
    kind: String,
    digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Sha256, Fault> {
        let known = self.digest.starts_with("sha256:");
        self.digest.parse().map_err(|_| if known { Fault::BadJson } else { Fault::Unsupported })
    }

    pub(crate) fn is_index(&self) -> bool {
        INDEX.contains(&self.kind.as_str())
    }

    /// Whether it may be an image for this machine. One that does not say says it in its configuration.
    fn fits(&self) -> bool {
        let here = |platform: &Platform| is_here(&platform.os, &platform.architecture);
        self.platform.as_ref().is_none_or(here)
    }
}

fn is_here(os: &str, architecture: &str) -> bool {
    (os, architecture) == ("linux", "amd64")
}

/// What there is.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    manifests: Vec<Descriptor>,
}

impl Index {
    /// The one image, or index of images, for this machine.
    pub(crate) fn only(self) -> Result<Descriptor, Fault> {
        let known = |one: &Descriptor| one.is_index() || MANIFEST.contains(&one.kind.as_str());
        let mut fitting = self.manifests.into_iter().filter(|one| known(one) && one.fits());
        let first = fitting.next().ok_or(Fault::NoPlatform)?;
        // The same image may have several names.
        if fitting.all(|other| other.digest == first.digest) { Ok(first) } else { Err(Fault::Ambiguous) }
    }
}

/// An image's parts.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    /// That its layers are of kinds that are known.
    pub(crate) fn check(&self, most: u32) -> Result<(), Fault> {
        if self.layers.is_empty() || self.layers.len() > most as usize {
            return Err(Fault::LayersBound);
        }
        let known = |layer: &Descriptor| LAYERS.iter().any(|kind| layer.kind.starts_with(kind));
        if self.layers.iter().all(known) { Ok(()) } else { Err(Fault::Unsupported) }
    }
}

/// What it says of itself, as far as anything here asks.
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    os: String,
    architecture: String,
    rootfs: Layers,
}

#[derive(Debug, Deserialize)]
struct Layers {
    diff_ids: Vec<String>,
}

impl Configuration {
    /// The digests of its layers as they are unpacked, from the lowest up.
    pub(crate) fn layers(&self) -> Result<Vec<Sha256>, Fault> {
        if !is_here(&self.os, &self.architecture) {
            return Err(Fault::NoPlatform);
        }
        self.rootfs.diff_ids.iter().map(|layer| layer.parse().map_err(|_| Fault::BadJson)).collect()
    }
}

/// Reads one of these. What it does not ask for may be anything.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|_| Fault::BadJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: &str, digit: char, platform: &str) -> String {
        let digits = digit.to_string().repeat(64);
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digits}","size":3{platform}}}"#)
    }

    fn only(manifests: &[String]) -> Result<Sha256, Fault> {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","));
        parse::<Index>(text.as_bytes())?.only()?.digest()
    }

    const AMD64: &str = r#","platform":{"os":"linux","architecture":"amd64"}"#;
    const ARM64: &str = r#","platform":{"os":"linux","architecture":"arm64"}"#;
    const NOTE: &str = r#","platform":{"os":"unknown","architecture":"unknown"}"#;

    #[test]
    fn the_image_for_this_machine_is_taken_or_none() {
        let manifest = MANIFEST[0];
        let (amd, arm) = (descriptor(manifest, 'a', AMD64), descriptor(manifest, 'b', ARM64));
        let (plain, note) = (descriptor(manifest, 'c', ""), descriptor(manifest, 'd', NOTE));
        assert_eq!(only(&[arm.clone(), amd.clone(), note.clone()]), Ok(Sha256([0xaa; 32])));
        assert_eq!(only(std::slice::from_ref(&plain)), Ok(Sha256([0xcc; 32])));
        assert_eq!(only(&[amd.clone(), amd.clone()]), Ok(Sha256([0xaa; 32])), "two names of one");
        assert_eq!(only(&[arm, note]), Err(Fault::NoPlatform));
        assert_eq!(only(&[amd, plain]), Err(Fault::Ambiguous));
        assert_eq!(only(&[]), Err(Fault::NoPlatform));
        assert_eq!(only(&[descriptor("text/plain", 'a', "")]), Err(Fault::NoPlatform));
    }

    #[test]
    fn what_is_no_json_of_these_is_refused() {
        for bad in
            ["", "{}", "[]", "{\"manifests\":{}}", "{\"manifests\":[{\"size\":-1}]}", &"[".repeat(100_000)]
        {
            assert_eq!(parse::<Index>(bad.as_bytes()).err(), Some(Fault::BadJson));
        }
        let twice = r#"{"manifests":[],"manifests":[]}"#;
        assert_eq!(parse::<Index>(twice.as_bytes()).err(), Some(Fault::BadJson), "two readers could differ");
    }

    #[test]
    fn layers_are_counted_and_of_known_kinds() {
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 'a', "");
        let manifest = |layers: usize, kind: &str| {
            let layers =
                vec![layer.replace("application/vnd.oci.image.layer.v1.tar+gzip", kind); layers].join(",");
            let config = descriptor("application/vnd.oci.image.config.v1+json", 'b', "");
            parse::<Manifest>(format!(r#"{{"config":{config},"layers":[{layers}]}}"#).as_bytes()).unwrap()
        };
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(manifest(128, gzip).check(128), Ok(()));
        assert_eq!(manifest(129, gzip).check(128), Err(Fault::LayersBound));
        assert_eq!(manifest(0, gzip).check(128), Err(Fault::LayersBound));
        assert_eq!(manifest(1, "application/vnd.in-toto+json").check(128), Err(Fault::Unsupported));
    }

    #[test]
    fn a_configuration_is_for_this_machine_and_names_layers() {
        let layers = |os: &str, machine: &str, layer: &str| {
            let text = format!(
                r#"{{"os":"{os}","architecture":"{machine}","config":{{"User":"x"}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
            );
            parse::<Configuration>(text.as_bytes()).unwrap().layers()
        };
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(layers("linux", "amd64", &digest), Ok(vec![Sha256([0xab; 32])]));
        assert_eq!(layers("linux", "arm64", &digest), Err(Fault::NoPlatform));
        assert_eq!(layers("windows", "amd64", &digest), Err(Fault::NoPlatform));
        assert_eq!(layers("linux", "amd64", "../../etc"), Err(Fault::BadJson));
    }
}
