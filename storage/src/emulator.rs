//! The account that Azure's own emulator has. Whoever reaches it on this machine needs no other credential.

/// The emulator's account.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The emulator's published key; it opens nothing else.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
