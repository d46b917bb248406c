//! Who runs beside a capture.

use std::{path::Path, process::Command};

use crate::common::{Contender, place};

/// What names of the yardstick's contenders begin with.
pub(crate) const YARDSTICK: &str = "openssl dgst -sha256";

fn ours(folder: &Path) -> Contender {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let out = place("manifest.parquet");
    command.arg("--capture").arg(folder).arg(out);
    Contender {
        name: "holdfast capture",
        command,
        prepare: None,
        rounds: usize::MAX,
    }
}

/// The yardstick: two processes with 1500 names each; and where that leaves one of them without
/// names, once more with half of the names for each.
fn yardsticks(folder: &Path, files: u64) -> Vec<Contender> {
    let line = |names| {
        let at = folder.display();
        format!("find {at} -type f -print0 | xargs -0 -P2 -n {names} openssl dgst -sha256")
    };
    let mut all = vec![Contender::shell(
        "openssl dgst -sha256, xargs -P2 -n 1500",
        &line(1500),
    )];
    if (2..=1500).contains(&files) {
        all.push(Contender::shell(
            "openssl dgst -sha256, xargs -P2, half of the names each",
            &line(files.div_ceil(2)),
        ));
    }
    all
}

/// Everybody, the page cache warm. The slow ones run once.
pub(crate) fn warm(folder: &Path, files: u64) -> Vec<Contender> {
    let at = folder.display();
    let names = files.div_ceil(2).min(1500);
    let mut all = vec![ours(folder)];
    all.extend(yardsticks(folder, files));
    all.push(
        Contender::shell(
            "sha256sum, xargs -P2",
            &format!("find {at} -type f -print0 | xargs -0 -P2 -n {names} sha256sum"),
        )
        .at_most(1),
    );
    let hashdeep = format!("hashdeep -r -c sha256 -j2 {at}");
    all.push(Contender::shell("hashdeep -c sha256 -j2", &hashdeep).at_most(1));
    let rclone = format!("rclone hashsum sha256 {at} --checkers 2 --config /dev/null");
    all.push(Contender::shell("rclone hashsum sha256", &rclone).at_most(1));
    if let Some(python) = std::env::var_os("HOLDFAST_BAGIT") {
        let bags = place("bagit");
        std::fs::create_dir_all(&bags).expect("a folder for bagit's manifest");
        // What `bagit.py` does once it has moved the files into its bag.
        let program = "import bagit, os, sys; os.chdir(sys.argv[1]); \
                       bagit.make_manifests(sys.argv[2], 2, ['sha256'])";
        let line = format!(
            "{} -c \"{program}\" {} {at}",
            Path::new(&python).display(),
            bags.display()
        );
        all.push(Contender::shell("bagit, 2 processes", &line).at_most(1));
    }
    let repository = place("restic");
    let restic = format!(
        "RESTIC_PASSWORD=bench restic --no-cache -q -r {}",
        repository.display()
    );
    let mut backup = Contender::shell(
        "restic backup, not compressed, new repository on the same disk",
        &format!("{restic} --compression off backup {at}"),
    )
    .at_most(1);
    backup.prepare = Some(format!("rm -rf {}; {restic} init", repository.display()));
    all.push(backup);
    all
}

/// The yardstick alone, the page cache dropped before each run.
pub(crate) fn cold(folder: &Path, files: u64) -> Vec<Contender> {
    let mut all = vec![ours(folder)];
    all.extend(yardsticks(folder, files));
    for contender in &mut all {
        contender.prepare = Some("sync; echo 3 > /proc/sys/vm/drop_caches".to_owned());
    }
    all
}
