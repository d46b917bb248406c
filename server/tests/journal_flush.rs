//! A disk that does not confirm what it was given: nothing more is said until somebody looks.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::{
    collections::BTreeSet, fs, io::Write as _, path::Path, process::Command, time::Duration,
};

use custody::{
    house::person::Role,
    id::PersonId,
    sign::{SecretKey, Signer as _},
};
use house::House;
use server::{
    config::Data,
    desk::{DeskError, Submission},
    replay,
};

/// A file system on a disk whose own room can be taken away: what was written to it is then
/// refused when it is flushed, as a failing disk does.
struct Failing {
    below: std::path::PathBuf,
    on: std::path::PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let out = Command::new(program).args(arguments).output();
    out.is_ok_and(|out| out.status.success())
}

impl Failing {
    fn mount(folder: &Path) -> Option<Self> {
        let (below, on) = (folder.join("below"), folder.join("on"));
        fs::create_dir_all(&below).unwrap();
        fs::create_dir_all(&on).unwrap();
        let [b, o] = [&below, &on].map(|path| path.to_str().unwrap().to_owned());
        let made = run("mount", &["-t", "tmpfs", "-o", "size=40m", "tmpfs", &b]);
        let this = made.then_some(Self { below, on })?;
        let disk = this.disk();
        fs::File::create(&disk).unwrap().set_len(200 << 20).unwrap();
        let disk = disk.to_str().unwrap();
        // Its journal and tables have their room; the files' blocks find none later.
        let made = run(
            "mkfs.ext4",
            &["-q", "-F", "-E", "nodiscard", "-J", "size=4", disk],
        );
        (made && run("mount", &["-o", "loop", disk, &o])).then_some(this)
    }

    fn disk(&self) -> std::path::PathBuf {
        self.below.join("disk")
    }

    /// Takes all the room below.
    fn fail(&self) {
        let mut filler = fs::File::create(self.below.join("filler")).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
    }

    /// Gives it back, and mounts anew, as after a restart of the machine.
    fn repair(&self) {
        let (disk, on) = (self.disk(), self.on.to_str().unwrap().to_owned());
        assert!(run("umount", &[&on]));
        fs::remove_file(self.below.join("filler")).unwrap();
        let disk = disk.to_str().unwrap();
        let _ = Command::new("e2fsck").args(["-f", "-y", disk]).output();
        assert!(run("mount", &["-o", "loop", disk, &on]));
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        for path in [&self.on, &self.below] {
            let _ = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

fn add(house: &House) -> (PersonId, Submission) {
    let key = SecretKey::from_seed(&house::random()).public_key();
    house.add_person(key, &[Role::Auditor])
}

/// Lets the disk fail under a working house; says whether it was a flush that failed.
async fn a_disk_fails(failing: &Failing) -> bool {
    let data = Data(failing.on.join("server"));
    let mut house = House::at(tempfile::tempdir().unwrap(), data, |_| {}).await;
    let mut kept = BTreeSet::new();
    for _ in 0..20 {
        let (_, submission) = add(&house);
        let recorded = house.submit(submission.clone()).await.unwrap();
        kept.insert((recorded.index, submission.entry));
    }
    house.published().await;
    failing.fail();
    let (failure, person) = loop {
        let (person, submission) = add(&house);
        match house.submit(submission.clone()).await {
            Ok(recorded) => kept.insert((recorded.index, submission.entry)),
            Err(DeskError::Failed(failure)) => break (failure, person),
            Err(refused) => panic!("{refused}"),
        };
        assert!(kept.len() < 2000, "the disk never failed");
    };
    // A write that fails is known to have failed; of a flush nothing is known any more.
    let flush = !failure.retry;
    if flush {
        // It says so by itself, so that the process ends, and takes nothing more until it does.
        let broken = tokio::time::timeout(Duration::from_secs(5), house.desk().broken());
        assert_eq!(broken.await.unwrap(), failure);
        let again = house.submit(add(&house).1).await;
        assert_eq!(again, Err(DeskError::Failed(failure)));
    }
    tokio::time::timeout(Duration::from_secs(30), house.close())
        .await
        .expect("it stops");
    failing.repair();
    house.open().await.unwrap();
    for (index, entry) in &kept {
        assert_eq!(house.desk().entry(*index).await.unwrap().bytes, *entry);
    }
    assert!(flush || !house.desk().house().persons.contains_key(&person));
    house.submit(add(&house).1).await.unwrap();
    house.published().await;
    house.close().await;
    let report = replay::check(&house.data).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    flush
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_ends_all_work_and_loses_nothing_that_was_acknowledged() {
    for _ in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let Some(failing) = Failing::mount(folder.path()) else {
            return house::skipped(
                "a_flush_that_fails_ends_all_work_and_loses_nothing_that_was_acknowledged",
                "no file system on a loop device: it takes root and ext4",
            );
        };
        // The log's own files share the disk: now and then it is one of them that fails first.
        if a_disk_fails(&failing).await {
            return;
        }
    }
    panic!("no flush of the journal ever failed");
}
