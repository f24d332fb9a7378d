//! Limits on what is fetched.

/// Limits on what is fetched from agents (`[collect]` of the configuration).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a body as it comes over the wire (`body_size_max`, 16 MiB).
    pub body_bytes_max: usize,
    /// Bytes of a body after decompression (`decompressed_size_max`, 64 MiB).
    pub decompressed_bytes_max: usize,
    /// Redirects followed (`redirects_max`, 3).
    pub redirects_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            decompressed_bytes_max: 64 << 20,
            redirects_max: 3,
        }
    }
}
