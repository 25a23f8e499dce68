//! Bonded requests in INFERENCE: a fee waits for an answer, a bond for a challenge.

use super::{Word, slot};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::system;

/// EVM blocks in which an answer can be challenged.
pub const ANSWER_CHALLENGE_BLOCKS: u64 = 240;
/// AI work that the replay of a challenge may take, loading included; a request whose model needs more is refused. Its price
/// is always 1, so this is its AI gas too.
pub const CHALLENGE_WORK_MAX: u64 = 12_000_000;
/// The longest input of a bonded request: a challenge has to carry it in one transaction of at most 128 KiB.
pub const CHALLENGE_INPUT_BYTES_MAX: u64 = 120 * 1_024;

/// Open requests and disputable jobs that may hold one version.
pub(crate) const OPEN_REQUESTS_MAX: u64 = u16::MAX as u64;

/// Fields of a request.
pub(crate) const HEAD: u8 = 0x40;
pub(crate) const REQUESTER: u8 = 0x41;
pub(crate) const MODEL: u8 = 0x42;
pub(crate) const INPUT_HASH: u8 = 0x43;
pub(crate) const BOND: u8 = 0x44;
pub(crate) const PROVIDER: u8 = 0x45;
pub(crate) const OUTPUT_HASH: u8 = 0x46;
/// Of a traced request: the work of a judgement, and the steps of the answer's trace.
pub(crate) const TRACED: u8 = 0x47;
/// Merkle root of that trace.
pub(crate) const TRACE_ROOT: u8 = 0x48;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Nobody has answered it.
    Open,
    /// The answer can be challenged.
    Answered,
    /// The answer stood; its provider was paid.
    Final,
    /// A replay proved the answer wrong; the fee went back.
    Slashed,
    /// Nobody answered in time; the fee went back.
    Expired,
}

impl RequestStatus {
    const fn code(self) -> u64 {
        match self {
            Self::Open => 1,
            Self::Answered => 2,
            Self::Final => 3,
            Self::Slashed => 4,
            Self::Expired => 5,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Answered),
            3 => Some(Self::Final),
            4 => Some(Self::Slashed),
            5 => Some(Self::Expired),
            _ => None,
        }
    }
}

/// First field of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// `None`: there is no such request.
    pub(crate) status: Option<RequestStatus>,
    pub(crate) created_block: u64,
    pub(crate) answer_block: u64,
    pub(crate) challenge_block: u64,
    pub(crate) fee: u128,
}

impl RequestHead {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            status: RequestStatus::from_code(word.short(0, 1)),
            created_block: word.short(1, 5),
            answer_block: word.short(6, 5),
            challenge_block: word.short(11, 5),
            fee: word.number(16, 16),
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with(0, 1, self.status.map_or(0, RequestStatus::code));
        let word = word.with(1, 5, self.created_block).with(6, 5, self.answer_block).with(11, 5, self.challenge_block);
        word.with(16, 16, self.fee).value()
    }
}

/// Bond asked for and bond given.
pub(crate) fn bond_word(asked: u128, given: u128) -> U256 {
    Word::default().with(0, 16, asked).with(16, 16, given).value()
}

/// Bond asked for and bond given.
pub(crate) fn bonds(value: U256) -> (u128, u128) {
    (Word::new(value).number(0, 16), Word::new(value).number(16, 16))
}

/// What a traced request takes to judge, and what its answer published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TracedAnswer {
    /// AI work of judging one operator, loading apart.
    pub work: u64,
    /// Steps of the trace; 0 without an answer.
    pub steps: u64,
}

impl TracedAnswer {
    /// `None`: the request is no traced one.
    pub(crate) fn decode(value: U256) -> Option<Self> {
        let word = Word::new(value);
        (!value.is_zero()).then(|| Self { work: word.short(0, 8), steps: word.short(8, 8) })
    }

    pub(crate) fn encode(&self) -> U256 {
        Word::default().with(0, 8, self.work).with(8, 8, self.steps).value()
    }
}

/// Slot of the number of bonded requests ever.
pub(crate) fn count_slot() -> U256 {
    keccak256("lattice bonded requests").into()
}

/// Id of request number `index` (from 0) of the chain, made by `requester`.
pub(crate) fn request_id(requester: &Address, index: u64) -> B256 {
    keccak256([b"lattice bonded request", requester.as_slice(), &index.to_be_bytes()].concat())
}

/// A bonded request, and in the end its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BondedRecord {
    /// How far it is.
    pub status: RequestStatus,
    /// Who asked.
    pub requester: Address,
    /// The model.
    pub model_id: B256,
    /// keccak of the input tensors; the input itself is in the log.
    pub input_hash: B256,
    /// Fee, wei.
    pub fee: u128,
    /// Bond that an answer had to give, wei.
    pub bond_asked: u128,
    /// Bond that the answer gave, wei; 0 without an answer.
    pub bond: u128,
    /// EVM block of the request.
    pub created_block: u64,
    /// Last EVM block for an answer.
    pub answer_block: u64,
    /// Last EVM block for a challenge; `None` without an answer.
    pub challenge_block: Option<u64>,
    /// Who answered.
    pub provider: Option<Address>,
    /// keccak of the output tensors; the output itself is in the log.
    pub output_hash: Option<B256>,
    /// What a traced request takes to judge; `None` when an answer is replayed as a whole.
    pub traced: Option<TracedAnswer>,
}

impl BondedRecord {
    /// A request's record; `None` when there is no such request.
    pub fn read(state: &State, request_id: &B256) -> Option<Self> {
        let field = |field: u8| state.storage(&system::INFERENCE, slot(request_id, field));
        let head = RequestHead::decode(field(HEAD));
        let status = head.status?;
        let (bond_asked, bond) = bonds(field(BOND));
        let answered = head.challenge_block != 0;
        Some(Self {
            status,
            requester: Address::from_word(field(REQUESTER).into()),
            model_id: field(MODEL).into(),
            input_hash: field(INPUT_HASH).into(),
            fee: head.fee,
            bond_asked,
            bond,
            created_block: head.created_block,
            answer_block: head.answer_block,
            challenge_block: answered.then_some(head.challenge_block),
            provider: answered.then(|| Address::from_word(field(PROVIDER).into())),
            output_hash: answered.then(|| field(OUTPUT_HASH).into()),
            traced: TracedAnswer::decode(field(TRACED)),
        })
    }
}
