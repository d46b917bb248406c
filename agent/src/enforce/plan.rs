//! Plans: what raising a hold would do, said before anything is done.

use custody::house::mechanism::Mechanism;

/// What raising a hold would do. Making one changes nothing and reads no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What would keep the target.
    pub mechanism: Mechanism,
    /// Such as `ext4`.
    pub file_system: String,
    /// What this would not prevent here, as far as it is known before.
    pub does_not_prevent: Vec<String>,
    /// Regular files; none where nobody counted.
    pub files: Option<u64>,
    /// Bytes of those files on disk; none where nobody counted.
    pub bytes: Option<u64>,
    /// Bytes of space that it takes at once; what is changed later can take more.
    pub needs: u64,
    /// Bytes that are free where it takes them; none where the file system has no measure.
    pub free: Option<u64>,
    /// Why this mechanism, and why none that is stronger.
    pub because: String,
}

impl Plan {
    /// The same plan after the target was counted: its files, and their bytes on disk.
    #[must_use]
    pub fn counted(mut self, files: u64, bytes: u64) -> Self {
        self.files = Some(files);
        self.bytes = Some(bytes);
        if matches!(self.mechanism, Mechanism::SealedCopy | Mechanism::PlainCopy) {
            self.needs = bytes.saturating_add(bytes / 32);
        }
        self
    }

    /// Whether there is room for it, as far as anybody knows.
    pub fn has_room(&self) -> bool {
        self.free.is_none_or(|free| free >= self.needs)
    }
}
