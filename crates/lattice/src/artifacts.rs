//! Artifacts: bytes off the chain that a record names by CID. Files are cut into chunks and uploaded to the node.

use crate::{
    client::{Client, decode},
    failure::{Failure, read_file},
};
use alloy_primitives::hex;
use lattice_storage::artifact::Manifest;
use lattice_types::{
    Cid,
    limits::{ARTIFACT_BYTES_MAX, CHUNK_BYTES_MAX},
};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

/// Bytes with the manifest that names them.
#[derive(Debug)]
pub struct Artifact {
    bytes: Vec<u8>,
    manifest: Manifest,
    cid: Cid,
}

impl Artifact {
    /// Cuts bytes into chunks.
    ///
    /// # Errors
    /// When there are none, or more than the chain allows. `what` names them.
    pub fn new(bytes: Vec<u8>, what: &str) -> Result<Self, Failure> {
        let count = bytes.len() as u64;
        if count == 0 || count > ARTIFACT_BYTES_MAX {
            return Err(Failure::new(format!("{what} has {count} bytes; an artifact has 1 to {ARTIFACT_BYTES_MAX}")));
        }
        let manifest = Manifest::of(&bytes);
        let cid = manifest.cid();
        Ok(Self { bytes, manifest, cid })
    }

    /// CID of the manifest.
    pub const fn cid(&self) -> Cid {
        self.cid
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends what the node lacks of it.
    pub fn upload(&self, client: &Client, progress: &dyn Fn(&str)) -> Result<(), Failure> {
        let mut missing = missing(client, &self.cid)?;
        if missing.is_empty() {
            return Ok(());
        }
        if missing.contains(&self.cid) {
            put(client, "lattice_putManifest", &self.manifest.encode(), &self.cid)?;
            missing = self::missing(client, &self.cid)?;
        }
        let total = missing.len();
        let mut sent = 0;
        for (chunk, cid) in self.bytes.chunks(CHUNK_BYTES_MAX).zip(self.manifest.chunks()) {
            if missing.remove(cid) {
                put(client, "lattice_putChunk", chunk, cid)?;
                sent += 1;
                progress(&format!("uploaded chunk {sent} of {total}"));
            }
        }
        Ok(())
    }
}

/// An artifact on the command line: a file to upload, or the CID of one that is stored already.
#[derive(Debug, Clone)]
pub enum ArtifactRef {
    /// Stored somewhere; nothing is uploaded.
    Stored(Cid),
    /// A file here.
    File(PathBuf),
}

impl std::str::FromStr for ArtifactRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Cid::parse(text).map_or_else(|_| Self::File(text.into()), Self::Stored))
    }
}

impl ArtifactRef {
    /// The CID; a file is read and uploaded first.
    pub fn store(&self, client: &Client, progress: &dyn Fn(&str)) -> Result<Cid, Failure> {
        match self {
            Self::Stored(cid) => Ok(*cid),
            Self::File(path) => {
                let artifact = Artifact::new(read_file(path)?, &path.display().to_string())?;
                artifact.upload(client, progress)?;
                Ok(artifact.cid())
            }
        }
    }
}

fn missing(client: &Client, cid: &Cid) -> Result<BTreeSet<Cid>, Failure> {
    let method = "lattice_missingChunks";
    let texts: Vec<String> = decode(method, client.call(method, json!([cid.to_string()]))?)?;
    let parse = |text: &String| Cid::parse(text).map_err(|error| Failure::new(format!("{method} answered {error}")));
    texts.iter().map(parse).collect()
}

/// Stores a block at the node, which must name it as we do.
fn put(client: &Client, method: &str, bytes: &[u8], expected: &Cid) -> Result<(), Failure> {
    let answer = client.call(method, json!([hex::encode_prefixed(bytes)]))?;
    match answer.as_str() {
        Some(cid) if cid == expected.to_string() => Ok(()),
        _ => Err(Failure::new(format!("{method} stored {answer}, expected {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_cid_is_a_file() {
        let cid = Artifact::new(b"weights".to_vec(), "it").unwrap().cid();
        assert!(matches!(cid.to_string().parse(), Ok(ArtifactRef::Stored(found)) if found == cid));
        assert!(matches!("delta.bin".parse(), Ok(ArtifactRef::File(path)) if path.as_os_str() == "delta.bin"));
        assert!(Artifact::new(Vec::new(), "delta.bin").unwrap_err().to_string().contains("delta.bin has 0 bytes"));
    }
}
