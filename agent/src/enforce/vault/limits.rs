//! What a vault does not prevent, in words for the statement.

use custody::house::regime::Holding;

use crate::enforce::{fill::Filled, record::Record, site};

pub(super) fn limits(record: &Record, filled: &Filled) -> Vec<String> {
    let mut limits = vec![
        match record.holding {
            Holding::Freeze => "the original can be changed or deleted in place",
            Holding::Preserve => {
                "the living files can be changed or deleted; the copy is what is kept"
            }
        }
        .to_owned(),
    ];
    if filled.copied > 0 {
        limits.push(
            "files were copied one after the other; a change through a mapping made before, while              one was copied, leaves no trace"
                .to_owned(),
        );
    } else {
        limits.push("files were cloned one after the other, not all in one moment".to_owned());
    }
    let counted = [
        (
            filled.unreadable,
            "things could not be read and are not in the copy",
        ),
        (
            filled.changed,
            "files changed while they were copied; what was read is kept",
        ),
        (
            filled.symlinks,
            "symbolic links: reading one may have moved its access time",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    limits
}

pub(super) fn seal_limits(sealed: bool, file_system: &str) -> Vec<String> {
    let mut limits = Vec::new();
    if sealed {
        limits.push("root can take the flag off; that is found and recorded".to_owned());
    } else {
        limits.push("root can change the copy".to_owned());
        limits.push("whoever owns the folder around the vault can rename it".to_owned());
        if !rustix::process::geteuid().is_root() {
            limits
                .push("the agent's own user can change the copy's mode, then the copy".to_owned());
        }
    }
    if site::is_memory(file_system) {
        limits.push("a restart of the machine empties this file system".to_owned());
    }
    limits
}
