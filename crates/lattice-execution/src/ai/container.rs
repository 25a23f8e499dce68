//! AI containers: code that runs with the AI instruction table.
//!
//! A container is code that begins with `EF A1 01`. EIP-3541 keeps 0xEF free of ordinary contracts, EIP-7702 uses
//! `EF 01` and EIP-3540 `EF 00`, so no contract of Ethereum can be mistaken for one. The third byte is the version:
//! others stay free for later tables. The rules are specified in `docs/spec/ai-containers.md`.

/// First bytes of a container: the free byte of EIP-3541, the magic, the version.
pub const PREFIX: [u8; 3] = [0xef, 0xa1, 0x01];

/// Whether this code runs with the AI table: decided by its first three bytes alone, for init code as for contracts.
pub fn is_container(code: &[u8]) -> bool {
    code.starts_with(&PREFIX)
}

/// Whether this code may be deployed though it begins with 0xEF: a container with at least one instruction behind
/// its header.
pub fn is_deployable(code: &[u8]) -> bool {
    is_container(code) && code.len() > PREFIX.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bytes_decide() {
        assert!(is_container(&[0xef, 0xa1, 0x01]));
        assert!(is_container(&[0xef, 0xa1, 0x01, 0xfe]));
        for other in [&[][..], &[0xef], &[0xef, 0xa1], &[0xef, 0xa1, 0x02, 0], &[0xef, 0x01, 0x00], &[0, 0xef, 0xa1, 1]]
        {
            assert!(!is_container(other), "{other:02x?}");
        }
    }

    #[test]
    fn a_header_alone_is_not_deployable() {
        assert!(!is_deployable(&PREFIX));
        assert!(is_deployable(&[0xef, 0xa1, 0x01, 0x00]));
        assert!(!is_deployable(&[0xef, 0xa1, 0x00, 0x00]));
    }
}
