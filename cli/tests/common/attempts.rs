//! Everything that changes a file, tried.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Tries to change a file in every way there is; gives what went through.
pub fn attempts(file: &Path) -> Vec<&'static str> {
    let beside = |name: &str| file.with_file_name(name);
    let unlink = || fs::remove_file(beside("renamed")).or(fs::remove_file(file));
    let tries: [(&str, io::Result<()>); 8] = [
        (
            "overwrite",
            File::options().write(true).open(file).map(drop),
        ),
        ("append", File::options().append(true).open(file).map(drop)),
        ("truncate", File::create(file).map(drop)),
        ("link", fs::hard_link(file, beside("link"))),
        (
            "chmod",
            fs::set_permissions(file, Permissions::from_mode(0o600)),
        ),
        ("create", File::create_new(beside("new")).map(drop)),
        ("rename", fs::rename(file, beside("renamed"))),
        ("unlink", unlink()),
    ];
    let done = tries.into_iter().filter(|(_, tried)| tried.is_ok());
    done.map(|(what, _)| what).collect()
}

/// Whether nothing of that goes through, and the content is as it was.
pub fn is_held(file: &Path, content: &[u8]) -> bool {
    attempts(file).is_empty() && fs::read(file).unwrap() == content
}
