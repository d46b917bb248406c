//! A disk that is full: nothing that was acknowledged is lost, and nothing else stands.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::{collections::BTreeSet, fs, process::Command};

use custody::{
    house::person::Role,
    sign::{SecretKey, Signer as _},
};
use house::House;
use server::{config::Data, desk::DeskError, replay};

/// A small file system of its own, unmounted when it goes.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: &std::path::Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(path)
            .status();
        mounted.ok()?.success().then(|| Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(&folder.path().join("small")) else {
        house::skipped(
            "a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room",
            "a small file system could not be mounted: it takes root",
        );
        return;
    };
    let data = Data(folder.path().join("small/server"));
    let filler = folder.path().join("small/filler");
    let mut house = House::at(folder, data, |_| {}).await;
    let mut kept = BTreeSet::new();
    for round in 0..3 {
        // Takes all the room there is.
        let mut size = 6_000_000;
        while size > 0 {
            let _ = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&filler)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![7; size]));
            size /= 2;
        }
        let mut failed = 0;
        for _ in 0..200 {
            let key = SecretKey::from_seed(&house::random()).public_key();
            let (id, submission) = house.add_person(key, &[Role::Auditor]);
            match house.submit(submission.clone()).await {
                Ok(recorded) => {
                    kept.insert((recorded.index, submission.entry));
                }
                Err(DeskError::Failed(failure)) => {
                    assert!(failure.retry, "{failure}");
                    assert!(!house.desk().house().persons.contains_key(&id));
                    failed += 1;
                }
                Err(refused) => panic!("{refused}"),
            }
            if failed >= 5 {
                break;
            }
        }
        assert!(failed >= 5, "the disk was full in round {round}");
        fs::remove_file(&filler).unwrap();
        let key = SecretKey::from_seed(&house::random()).public_key();
        let (_, submission) = house.add_person(key, &[Role::Auditor]);
        let recorded = house.submit(submission.clone()).await.unwrap();
        kept.insert((recorded.index, submission.entry));
        house.published().await;
    }
    house.reopen().await;
    for (index, entry) in &kept {
        assert_eq!(house.desk().entry(*index).await.unwrap().bytes, *entry);
    }
    house.published().await;
    house.close().await;
    let report = replay::check(&house.data).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
}
