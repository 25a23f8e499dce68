//! The tables: one column family each.
//!
//! Models, adapters, jobs and inference results have none of their own: they are storage of system accounts, in
//! [`Table::State`] like every account's, so that one root commits to them. Artifacts are files
//! ([`crate::ArtifactStore`]); receipts and logs are in [`Table::Executed`].

/// A table of the store. Which room owns its record layout is written at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// DAG headers by block hash (chain).
    Headers,
    /// DAG block bodies by block hash (chain).
    Bodies,
    /// Insertion index of each block by hash (consensus).
    Relations,
    /// Facts, relations and GHOSTDAG data of each block by insertion index (consensus).
    Ghostdag,
    /// Reachability tree node of each block by insertion index (consensus).
    Reachability,
    /// Status of each block by hash: pending, executed, disqualified (chain).
    Status,
    /// Blocks by slot and proposer: more than one is an equivocation (chain).
    Wins,
    /// What certificates and epochs say at each block, by hash (chain).
    Standings,
    /// Justified and finalised checkpoints by their hash: many blocks share one (chain).
    Finality,
    /// Stake sets by the chain block at which they are read (chain).
    StakeSets,
    /// Accounts and storage after the base block (state).
    State,
    /// What each chain block above the base changed (state).
    Layers,
    /// Parent and height of each chain block above the base (state).
    LayerLinks,
    /// What leads back from each chain block up to the base to the one before it, of an archive (state).
    History,
    /// Contract code by code hash (state).
    Code,
    /// EVM blocks with their receipts by chain block (chain).
    Executed,
    /// Transaction hash to its place (chain).
    TxIndex,
    /// EVM block number to chain block (chain).
    Canonical,
    /// Single records: tips, head, genesis (consensus and chain, each under its own key).
    Meta,
}

impl Table {
    /// Every table, in the order of the discriminants.
    pub const ALL: [Self; 19] = [
        Self::Headers,
        Self::Bodies,
        Self::Relations,
        Self::Ghostdag,
        Self::Reachability,
        Self::Status,
        Self::Wins,
        Self::Standings,
        Self::Finality,
        Self::StakeSets,
        Self::State,
        Self::Layers,
        Self::LayerLinks,
        Self::History,
        Self::Code,
        Self::Executed,
        Self::TxIndex,
        Self::Canonical,
        Self::Meta,
    ];

    /// The name under which the engine keeps the table. A name on disk is forever: renaming one needs a new format version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Relations => "relations",
            Self::Ghostdag => "ghostdag",
            Self::Reachability => "reachability",
            Self::Status => "status",
            Self::Wins => "wins",
            Self::Standings => "standings",
            Self::Finality => "finality",
            Self::StakeSets => "stake_sets",
            Self::State => "state",
            Self::Layers => "layers",
            Self::LayerLinks => "layer_links",
            Self::History => "history",
            Self::Code => "code",
            Self::Executed => "executed",
            Self::TxIndex => "tx_index",
            Self::Canonical => "canonical",
            Self::Meta => "meta",
        }
    }

    /// Place in [`Table::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_lists_each_table_once_at_its_index() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), index, "{table:?}");
        }
        let names: BTreeSet<_> = Table::ALL.into_iter().map(Table::name).collect();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
