//! State and block overrides in geth's format. A field that is not known is refused by its name: ignoring it would
//! answer another question than the one that was asked.

use crate::params::Argument;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use lattice_chain::{AccountOverride, BlockOverrides, Overrides, StorageOverride};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Storage as clients write it: slots and values of 32 bytes.
type Slots = BTreeMap<B256, B256>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AccountJson {
    balance: Option<U256>,
    nonce: Option<U64>,
    code: Option<Bytes>,
    state: Option<Slots>,
    state_diff: Option<Slots>,
    move_precompile_to_address: Option<Address>,
}

/// Overrides of accounts.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<Address, AccountJson>")]
pub(crate) struct StateOverrides(pub(crate) BTreeMap<Address, AccountOverride>);

/// Overrides of a block.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct BlockOverridesJson {
    number: Option<U64>,
    time: Option<U64>,
    gas_limit: Option<U64>,
    base_fee_per_gas: Option<U64>,
    prev_randao: Option<B256>,
    fee_recipient: Option<Address>,
}

impl TryFrom<BTreeMap<Address, AccountJson>> for StateOverrides {
    type Error = String;

    fn try_from(accounts: BTreeMap<Address, AccountJson>) -> Result<Self, String> {
        let slots = |slots: Slots| slots.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect();
        let one = |(address, json): (Address, AccountJson)| {
            let storage = match (json.state, json.state_diff) {
                (Some(_), Some(_)) => {
                    return Err(format!("account {address} has both 'state' and 'stateDiff': send one of them"));
                }
                (Some(whole), None) => Some(StorageOverride::Whole(slots(whole))),
                (None, Some(some)) => Some(StorageOverride::Slots(slots(some))),
                (None, None) => None,
            };
            let account = AccountOverride {
                balance: json.balance,
                nonce: json.nonce.map(|nonce| nonce.to()),
                code: json.code,
                storage,
                move_precompile_to: json.move_precompile_to_address,
            };
            Ok((address, account))
        };
        accounts.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl From<BlockOverridesJson> for BlockOverrides {
    fn from(json: BlockOverridesJson) -> Self {
        Self {
            number: json.number.map(|number| number.to()),
            timestamp: json.time.map(|time| time.to()),
            gas_limit: json.gas_limit.map(|limit| limit.to()),
            base_fee: json.base_fee_per_gas.map(|fee| fee.to()),
            prev_randao: json.prev_randao,
            beneficiary: json.fee_recipient,
        }
    }
}

/// Both, where either may be absent.
pub(crate) fn of(accounts: Option<StateOverrides>, block: Option<BlockOverridesJson>) -> Overrides {
    Overrides { accounts: accounts.unwrap_or_default().0, block: block.unwrap_or_default().into() }
}

impl Argument for StateOverrides {
    const EXPECTED: &'static str = "accounts with what is different about them \
        {address: {balance, nonce, code, state or stateDiff, movePrecompileToAddress}}";

    fn read(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }
}

impl Argument for BlockOverridesJson {
    const EXPECTED: &'static str =
        "what is different about the block {number, time, gasLimit, baseFeePerGas, prevRandao, feeRecipient}";

    fn read(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }
}
