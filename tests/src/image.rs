//! Images made by hand: layouts as the OCI image specification says them, of tars that other tools have made.
#![forbid(unsafe_code)]

use crate::world::sha256;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layout that is being made.
#[derive(Debug)]
pub struct Layout {
    /// Its folder.
    pub folder: PathBuf,
    layers: Vec<Value>,
    unpacked: Vec<String>,
}

/// A layout that is whole.
#[derive(Debug)]
pub struct Image {
    /// Its folder.
    pub folder: PathBuf,
    /// The digest of its manifest, as it is written.
    pub digest: String,
    /// Its layers' digests as they lie there, from the lowest up.
    pub blobs: Vec<String>,
}

impl Layout {
    /// An empty one.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned(), layers: vec![], unpacked: vec![] }
    }

    fn blob(&self, bytes: &[u8]) -> (String, usize) {
        let draft = self.folder.join("draft");
        fs::write(&draft, bytes).unwrap();
        let digits = sha256(&draft);
        fs::rename(draft, self.folder.join("blobs/sha256").join(&digits)).unwrap();
        (format!("sha256:{digits}"), bytes.len())
    }

    /// A layer of this tar, compressed with `gzip` or not at all.
    pub fn layer(mut self, tar: &Path, compressed: bool) -> Self {
        self.unpacked.push(format!("sha256:{}", sha256(tar)));
        let bytes = match compressed {
            true => Command::new("gzip").args(["-n", "-c"]).arg(tar).output().unwrap().stdout,
            false => fs::read(tar).unwrap(),
        };
        let kind = format!("application/vnd.oci.image.layer.v1.tar{}", if compressed { "+gzip" } else { "" });
        let (digest, size) = self.blob(&bytes);
        self.layers.push(json!({"mediaType": kind, "digest": digest, "size": size}));
        self
    }

    /// The last layer's digest, unpacked, is not what it is.
    pub fn with_another_digest(mut self) -> Self {
        *self.unpacked.last_mut().unwrap() = format!("sha256:{}", "0".repeat(64));
        self
    }

    /// The image, for this machine.
    pub fn finish(self) -> Image {
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": {"User": "root", "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": self.unpacked},
        });
        let (config, size) = self.blob(config.to_string().as_bytes());
        let blobs = self.layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect();
        let config =
            json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size});
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": self.layers});
        let (digest, size) = self.blob(manifest.to_string().as_bytes());
        let index =
            json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": digest, "size": size}]});
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
        Image { folder: self.folder, digest, blobs }
    }
}

/// A tar of a folder, by the machine's own tool, with the folder's files as root's.
pub fn tar(folder: &Path) -> PathBuf {
    let path = folder.with_extension("tar");
    let made = Command::new("tar")
        .args(["--owner=0", "--group=0", "--sort=name", "--mtime=@1", "-cf"])
        .arg(&path)
        .arg("-C")
        .arg(folder)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    path
}

/// A root filesystem that is a few programs and nothing else: Debian's busybox, which needs no library.
pub fn tiny_root(folder: &Path) -> PathBuf {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs).unwrap();
    let own = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    fs::copy(own.expect("busybox: ./test installs it"), programs.join("busybox")).unwrap();
    for name in ["sh", "cat", "ls", "id", "stat", "touch", "true", "echo", "sleep", "test", "sort"] {
        symlink("busybox", programs.join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("etc")).unwrap();
    fs::write(folder.join("etc/image-says"), "hello\n").unwrap();
    fs::write(folder.join("etc/hidden"), "nobody sees this\n").unwrap();
    fs::write(folder.join("etc/passwd"), "image:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(folder.join("a-file-at-the-top"), "").unwrap();
    tar(folder)
}
