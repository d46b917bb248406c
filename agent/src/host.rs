//! The host: what the agent may hold here, and which places are there.
//!
//! It looks by descriptors below an allowed root and nowhere else: a question about another
//! place is answered as if nothing were there.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use proto::v1::RootInfo;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::{
    config::RootConfig,
    disks,
    enforce::{
        objects::{StoreConfig, raise::FILE_SYSTEM},
        site::{Site, file_system},
    },
};

/// The roots as the coordinator's inventory shows them.
pub fn inventory(roots: &[RootConfig]) -> Vec<RootInfo> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    roots
        .iter()
        .map(|root| RootInfo {
            path: root.path.as_os_str().as_bytes().to_vec().into(),
            file_system: openat(CWD, &root.path, folder, Mode::empty())
                .map_or_else(|_| "absent".to_owned(), |fd| file_system(&fd)),
            accounts: root.accounts.clone(),
            disks: disks::below(&root.path)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        })
        .collect()
}

/// The object stores, as the same inventory shows them.
pub fn stores(stores: &[StoreConfig]) -> Vec<RootInfo> {
    let shown = stores.iter().map(|store| RootInfo {
        path: store.path_bytes().to_vec().into(),
        file_system: FILE_SYSTEM.to_owned(),
        accounts: store.accounts.clone(),
        ..RootInfo::default()
    });
    shown.collect()
}

/// Whether something is at this absolute path, below a root and reached without a symlink.
pub fn is_there(roots: &[RootConfig], path: &[u8]) -> bool {
    if !custody::house::scope::is_plain_path(path) {
        return false;
    }
    let roots: Vec<_> = roots.iter().map(RootConfig::root).collect();
    let found = Site::find(&roots, Path::new(OsStr::from_bytes(path)))
        .ok()
        .and_then(|site| site.pin().and_then(fstat).ok());
    found.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Symlink)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_lies_below_a_root_and_behind_no_link_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let root = base.join("data");
        std::fs::create_dir_all(root.join("alice/mail")).unwrap();
        std::fs::create_dir_all(root.join(".holdfast-vault/x")).unwrap();
        std::fs::create_dir_all(base.join("outside")).unwrap();
        std::os::unix::fs::symlink(base.join("outside"), root.join("link")).unwrap();
        let roots = [RootConfig::from_flag(root.to_str().unwrap())];
        let there = |path: &Path| is_there(&roots, path.as_os_str().as_bytes());
        assert!(there(&root));
        assert!(there(&root.join("alice/mail")));
        assert!(!there(&root.join("bob")));
        assert!(!there(&root.join("link")));
        assert!(!there(&base.join("outside")));
        assert!(!there(&root.join(".holdfast-vault/x")));
        assert!(!is_there(&roots, b"relative"));
        assert!(!there(&root.join("../outside")));
        let shown = inventory(&roots);
        assert_eq!(shown.len(), 1);
        assert_ne!(shown[0].file_system, "absent");
    }
}
