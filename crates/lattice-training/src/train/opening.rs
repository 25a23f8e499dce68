//! A doubt about a training, opened so far that whoever holds job, base and commitments can judge it: what the training
//! begins with, one step, or what came out.
//!
//! ```text
//! kind u8 = 0 start:  state hash | its proof
//! kind u8 = 1 step:   state before: length u32, bytes | its proof | state hash after | its proof | batch
//! kind u8 = 2 result: last state: length u32, bytes
//! ```

use super::{Dataset, OpenedBatch, State, Trace, TrainError, Trained, Trainer};
use crate::bytes::Cursor;
use crate::merkle::{self, Proof};
use alloy_primitives::{B256, keccak256};

/// What is doubted, with what its judgement needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Opening {
    /// The state before the first step.
    Start {
        /// Its hash, as the trainer says.
        hash: B256,
        /// Its place in the trace.
        proof: Proof,
    },
    /// One step.
    Step {
        /// Bytes of the state before, whose hash is in the trace.
        before: Vec<u8>,
        /// Its place in the trace.
        before_proof: Proof,
        /// Hash of the state after, as the trainer says.
        after: B256,
        /// Its place, which is the next one.
        after_proof: Proof,
        /// The records of the step.
        batch: OpenedBatch,
    },
    /// What came out.
    Result {
        /// Bytes of the last state.
        state: Vec<u8>,
    },
}

/// What a trainer has committed to.
#[derive(Clone, Copy)]
pub struct Claims<'a> {
    /// The step at which the opened part of the trace begins.
    pub from: u64,
    /// Its Merkle root.
    pub root: B256,
    /// Hash of the last state.
    pub state_hash: B256,
    /// Whether bytes are the artifact that came out.
    pub is_result: &'a dyn Fn(&[u8]) -> bool,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes(cursor: &mut Cursor<'_>, what: &str) -> Result<Vec<u8>, String> {
    let len = cursor.u32(what)? as usize;
    Ok(cursor.take(len, what)?.to_vec())
}

impl Opening {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Opening::Start { hash, proof } => {
                out.push(0);
                out.extend_from_slice(hash.as_slice());
                proof.append(&mut out);
            }
            Opening::Step { before, before_proof, after, after_proof, batch } => {
                out.push(1);
                put_bytes(&mut out, before);
                before_proof.append(&mut out);
                out.extend_from_slice(after.as_slice());
                after_proof.append(&mut out);
                batch.append(&mut out);
            }
            Opening::Result { state } => {
                out.push(2);
                put_bytes(&mut out, state);
            }
        }
        out
    }

    /// Reads what [`Opening::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Opening, TrainError> {
        let read = || -> Result<Opening, String> {
            let mut cursor = Cursor::new(bytes);
            let opening = match cursor.u8("the kind")? {
                0 => Opening::Start { hash: cursor.hash("the state hash")?, proof: Proof::read(&mut cursor)? },
                1 => Opening::Step {
                    before: take_bytes(&mut cursor, "the state before")?,
                    before_proof: Proof::read(&mut cursor)?,
                    after: cursor.hash("the state hash after")?,
                    after_proof: Proof::read(&mut cursor)?,
                    batch: OpenedBatch::read(&mut cursor)?,
                },
                2 => Opening::Result { state: take_bytes(&mut cursor, "the last state")? },
                kind => return Err(format!("kind {kind} is not known: 0 start, 1 step, 2 result")),
            };
            cursor.finish()?;
            Ok(opening)
        };
        read().map_err(TrainError::Opening)
    }
}

impl Trainer {
    /// Replays a training and opens the first thing that is not as its trainer says: the beginning, a step, or what came out;
    /// with the step at which the opened part of the trace begins. `parts` are those of the trace in their order, each
    /// beginning with the hash that the one before ends with. `None` when all is right.
    pub fn doubt(
        &self,
        data: &Dataset,
        parts: &[Trace],
        is_result: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<(u64, Opening)>, TrainError> {
        self.check_dataset(data)?;
        let steps: u64 = parts.iter().map(|part| (part.hashes.len() as u64).saturating_sub(1)).sum();
        if steps != self.plan.steps {
            return Err(TrainError::Opening(format!("the trace has {steps} steps, the job has {}", self.plan.steps)));
        }
        let mut state = self.start();
        let mut from = 0;
        for (place, part) in parts.iter().enumerate() {
            let proof = |step: u64| {
                part.proof(step).ok_or_else(|| TrainError::Opening(format!("a part of the trace has no place {step}")))
            };
            if place == 0 && part.hashes[0] != state.hash() {
                return Ok(Some((0, Opening::Start { hash: part.hashes[0], proof: proof(0)? })));
            }
            for (at, told) in (1u64..).zip(&part.hashes[1..]) {
                let next = match self.step(&state, &self.batch(data, state.step)) {
                    Ok(next) if next.hash() == *told => next,
                    Err(error @ TrainError::Machine(_)) => return Err(error),
                    // Another state, or one where there is none.
                    _ => {
                        let opening = Opening::Step {
                            before: state.encode(),
                            before_proof: proof(at - 1)?,
                            after: *told,
                            after_proof: proof(at)?,
                            batch: self.open_batch(data, state.step),
                        };
                        return Ok(Some((from, opening)));
                    }
                };
                state = next;
            }
            from = state.step;
        }
        let right = is_result(&self.result_bytes(&state)?);
        Ok((!right).then(|| (0, Opening::Result { state: state.encode() })))
    }

    /// The bytes of what a state amounts to: a frozen graph, or an adapter.
    pub fn result_bytes(&self, state: &State) -> Result<Vec<u8>, TrainError> {
        Ok(match self.result(state)? {
            Trained::Model(graph) => graph.encode(),
            Trained::Adapter(adapter) => adapter.encode(),
        })
    }

    /// Whether what is opened is as the job has it. An error, but for [`TrainError::Machine`], says that the opening proves
    /// nothing. A state that is none of this job's, and a step that has no result, are the trainer's lies.
    pub fn judge(&self, claims: &Claims<'_>, opening: &Opening) -> Result<bool, TrainError> {
        let foreign = |what: &str| TrainError::Opening(format!("{what} is not in the trace under {}", claims.root));
        match opening {
            Opening::Start { hash, proof } => {
                if claims.from != 0 || proof.index != 0 {
                    return Err(TrainError::Opening("a training starts at the first place of its first trace".into()));
                }
                if !proof.proves(&merkle::leaf(hash.as_slice()), &claims.root) {
                    return Err(foreign("the state hash"));
                }
                Ok(self.start().hash() == *hash)
            }
            Opening::Step { before, before_proof, after, after_proof, batch } => {
                if !before_proof.proves(&merkle::leaf(keccak256(before).as_slice()), &claims.root) {
                    return Err(foreign("the state before"));
                }
                if before_proof.index.checked_add(1) != Some(after_proof.index)
                    || !after_proof.proves(&merkle::leaf(after.as_slice()), &claims.root)
                {
                    return Err(foreign("the state hash after, as the next one,"));
                }
                match self.read_state(before) {
                    Ok(state) if Some(state.step) == claims.from.checked_add(before_proof.index) => {
                        match self.replay(&state, batch) {
                            Ok(hash) => Ok(hash == *after),
                            Err(error @ (TrainError::Batch(_) | TrainError::Machine(_))) => Err(error),
                            Err(_) => Ok(false),
                        }
                    }
                    _ => Ok(false),
                }
            }
            Opening::Result { state } => {
                if keccak256(state) != claims.state_hash {
                    let wanted = claims.state_hash;
                    return Err(TrainError::Opening(format!("the state is not the last one, whose hash is {wanted}")));
                }
                match self.read_state(state) {
                    Ok(state) if state.step == self.plan.steps => match self.result_bytes(&state) {
                        Ok(bytes) => Ok((claims.is_result)(&bytes)),
                        Err(error @ TrainError::Machine(_)) => Err(error),
                        Err(_) => Ok(false),
                    },
                    _ => Ok(false),
                }
            }
        }
    }
}
