//! What became of the target files, as `/api/v1/status` shows it.

use serde_json::{Value, json};

use crate::model::Timestamp;

/// Targets left out that are shown one by one.
pub const LEFT_OUT_SHOWN_MAX: usize = 100;

/// What became of the target files; `app` fills it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFiles {
    /// Each file that is known.
    pub files: Vec<TargetFile>,
    /// Targets that are not collected from, each with its place and the reason; the first
    /// [`LEFT_OUT_SHOWN_MAX`].
    pub left_out: Vec<String>,
    /// How many there are of them.
    pub left_out_total: usize,
}

/// One target file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// Its path; the pattern where a folder could not be listed.
    pub path: String,
    /// Targets of the content that counts.
    pub targets: usize,
    /// When the content that counts was read; `None` when none was good yet.
    pub read_at: Option<Timestamp>,
    /// Why the file as it is now does not count, with its place.
    pub error: Option<String>,
}

impl TargetFiles {
    pub(super) fn to_json(&self) -> Value {
        let file = |file: &TargetFile| {
            json!({
                "path": file.path,
                "targets": file.targets,
                "read_at": file.read_at.map(Timestamp::to_rfc3339),
                "error": file.error,
            })
        };
        json!({
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "left_out": self.left_out,
            "left_out_total": self.left_out_total,
        })
    }
}
