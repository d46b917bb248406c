//! File systems of their own for tests: an image on a loop device, gone again when dropped.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system that is mounted while this value lives.
pub struct Mounted {
    folder: tempfile::TempDir,
    at: PathBuf,
}

/// The file systems that carry the immutable flag and are tried one after the other, with the
/// smallest size in MiB that each is comfortable with.
pub const KINDS: [(&str, u64); 3] = [("ext4", 64), ("xfs", 320), ("btrfs", 192)];

/// Whether file systems can be mounted here; where not, the test is counted as skipped.
pub fn can_mount(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        super::skipped(test, "mounting a file system needs root");
        return false;
    }
    if !Path::new("/dev/loop-control").exists() {
        super::skipped(test, "there are no loop devices");
        return false;
    }
    true
}

impl Mounted {
    /// Makes and mounts a file system: `ext4`, `xfs` or `btrfs` of so many MiB (a sparse image), or
    /// `tmpfs` or `ramfs`.
    pub fn new(kind: &str, mebibytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("mounted");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        if matches!(kind, "tmpfs" | "ramfs") {
            mount.args(["-t", kind, kind]).arg(&at);
        } else {
            let image = folder.path().join("image");
            let file = fs::File::create(&image).unwrap();
            file.set_len(mebibytes << 20).unwrap();
            let quiet = if kind == "ext4" { "-qF" } else { "-qf" };
            let made = Command::new(format!("mkfs.{kind}"))
                .arg(quiet)
                .arg(&image)
                .output();
            let made = made.unwrap_or_else(|error| panic!("mkfs.{kind}: {error}"));
            assert!(made.status.success(), "mkfs.{kind}: {made:?}");
            mount.args(["-t", kind, "-o", "loop"]).arg(&image).arg(&at);
        }
        let mounted = mount.output().unwrap();
        assert!(mounted.status.success(), "mount {kind}: {mounted:?}");
        let mounted = Self { folder, at };
        fs::set_permissions(mounted.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(mounted.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        mounted
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A descriptor may be left for a moment; in the end it is let go of without waiting.
        for arguments in [&["-q"][..], &["-q"], &["-q"], &["-ql"]] {
            let done = Command::new("umount")
                .args(arguments)
                .arg(&self.at)
                .status();
            if done.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
