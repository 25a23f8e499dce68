//! Names of Ethereum's forks.

use lattice_execution::ethereum::SpecId;

/// The rules of a fork by any name that vectors use; `None` for transitions and for forks that are not final.
pub(crate) fn by_name(name: &str) -> Option<SpecId> {
    Some(match name {
        "Frontier" => SpecId::FRONTIER,
        "Homestead" => SpecId::HOMESTEAD,
        "DAOFork" => SpecId::HOMESTEAD,
        "EIP150" | "TangerineWhistle" | "Tangerine Whistle" => SpecId::TANGERINE,
        "EIP158" | "SpuriousDragon" | "Spurious Dragon" => SpecId::SPURIOUS_DRAGON,
        "Byzantium" => SpecId::BYZANTIUM,
        // EIP-1283's gas metering, which Constantinople had for no block of mainnet, is not in revm.
        "Constantinople" | "ConstantinopleFix" | "Petersburg" => SpecId::PETERSBURG,
        "Istanbul" | "MuirGlacier" => SpecId::ISTANBUL,
        "Berlin" => SpecId::BERLIN,
        "London" | "ArrowGlacier" | "GrayGlacier" => SpecId::LONDON,
        "Paris" | "Merge" | "London+3675" => SpecId::MERGE,
        "Shanghai" | "Merge+3855" | "Merge+3860" => SpecId::SHANGHAI,
        "Cancun" => SpecId::CANCUN,
        "Prague" => SpecId::PRAGUE,
        // Forks by blob parameters only (EIP-7892) change the schedule, which the vectors bring along.
        "Osaka" | "BPO1" | "BPO2" | "BPO3" | "BPO4" | "BPO5" => SpecId::OSAKA,
        _ => return None,
    })
}

/// Mainnet's blobs a block at most, and its update fraction, of a fork by blob parameters only (EIP-7892). Others have
/// those of their rules; the later names have no values on mainnet, so a vector has to bring them.
pub(crate) fn blob_schedule(name: &str) -> Option<(u64, u64)> {
    match name {
        "BPO1" => Some((15, 8_346_193)),
        "BPO2" => Some((21, 11_684_671)),
        _ => None,
    }
}
