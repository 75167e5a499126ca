//! Checksums that others have defined, for what tells things apart. Those that tell damage are the loader's own.

use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc};

/// The CRC-32 of Ethernet and zlib.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(bytes)
}

/// CRC-32C, the one of VHDX.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    Crc::<u32>::new(&CRC_32_ISCSI).checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_their_check_values() {
        assert_eq!((crc32(b"123456789"), crc32c(b"123456789")), (0xcbf4_3926, 0xe306_9283));
    }
}
