//! `lattice model update`: the next version of a line.

use super::{ImportArgs, line::line_of, print_pushed};
use crate::{
    artifacts::ArtifactRef,
    cli::{Output, progress, signing::SignArgs},
    client::{Client, quantity},
    failure::{Failure, read_file},
    registry::{Package, UpdatePlace},
};
use alloy_primitives::{B256, keccak256};
use lattice_types::tx::{ModelCommitments, ModelDelta};
use std::path::PathBuf;

/// What a registration commits to beyond the artifact.
#[derive(Debug, clap::Args)]
pub struct CommitmentArgs {
    /// Commit to this text (model card, licence) by its keccak hash
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Commit to the Merkle root of the weights
    #[arg(long, value_name = "HASH")]
    weights_root: Option<B256>,
    /// Name a copy on Arweave by its transaction id, 32 bytes in hex
    #[arg(long, value_name = "ID")]
    arweave: Option<B256>,
    /// Commit to the keccak hash of the verification key for proofs
    #[arg(long, value_name = "HASH")]
    verification_key: Option<B256>,
}

impl CommitmentArgs {
    /// The commitments; `None` when there is none.
    pub fn read(&self) -> Result<Option<ModelCommitments>, Failure> {
        let metadata = self.metadata.as_ref().map(|path| read_file(path).map(keccak256)).transpose()?;
        let commitments = ModelCommitments {
            metadata,
            weights_root: self.weights_root,
            arweave: self.arweave,
            verification_key: self.verification_key,
        };
        Ok((commitments != ModelCommitments::default()).then_some(commitments))
    }
}

/// Arguments of `lattice model update`.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// The id of any version of the model
    id: B256,
    #[command(flatten)]
    import: ImportArgs,
    /// Name of this version [default: the model's name]
    #[arg(long, default_value = "")]
    name: String,
    /// The version that this one follows [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    parent: Option<u64>,
    /// What makes this version out of an older one: a file to upload, or the CID of a stored artifact
    #[arg(long, value_name = "FILE|CID")]
    delta: Option<ArtifactRef>,
    /// The version that the delta applies to [default: the parent]
    #[arg(long, value_name = "VERSION", requires = "delta", value_parser = clap::value_parser!(u64).range(1..))]
    delta_base: Option<u64>,
    #[command(flatten)]
    commitments: CommitmentArgs,
    #[command(flatten)]
    sign: SignArgs,
}

/// `lattice model update`.
pub fn update(args: &UpdateArgs, output: Output) -> Result<(), Failure> {
    let graph = args.import.import()?;
    let package = Package::new(&graph, &args.name)?.with_commitments(args.commitments.read()?);
    let id = package.model_id;
    progress(&format!("version {id} ({} bytes, {} gas a run)", package.size_bytes(), graph.cost().gas()));
    args.sign.with(|client, wallet| {
        let (line, model) = line_of(client, &args.id)?;
        refuse_other_line(client, &line, &id)?;
        let newest = quantity(&model["line"]["versions"])
            .ok_or_else(|| Failure::new("lattice_getModel does not say how many versions there are"))?;
        let parent_version = args.parent.unwrap_or(newest);
        let delta = match &args.delta {
            None => None,
            Some(delta) => Some(ModelDelta {
                artifact: delta.store(client, &progress)?,
                base_version: args.delta_base.unwrap_or(parent_version),
            }),
        };
        let place = UpdatePlace { line, parent_version, delta };
        print_pushed(&package.push_update(client, wallet, &progress, &place)?, output)
    })
}

/// A graph is one version of one line for ever.
fn refuse_other_line(client: &Client, line: &B256, id: &B256) -> Result<(), Failure> {
    let Some(known) = crate::registry::model(client, id)? else { return Ok(()) };
    let found: Option<B256> = known["line"]["modelId"].as_str().and_then(|text| text.parse().ok());
    if found.as_ref() == Some(line) && id != line {
        return Ok(());
    }
    let version = quantity(&known["version"]).unwrap_or_default();
    let found = found.unwrap_or_default();
    Err(Failure::new(format!("the file is version {version} of model {found} already: {id}"))
        .next("change the graph or its weights; the same graph is the same model"))
}
