//! Second copies: made, kept on another disk, drawn on, and gone with the hold.

use std::{fs, path::Path};

use agent::{
    enforce::Progress,
    fixity::settings::{Only, SecondCopy},
    release::{
        pack::{PackError, Packing, pack},
        reread::Base,
        rows::Part,
    },
};
use custody::{
    digest::Digest,
    house::{mechanism::Mechanism, ranges::Ranges, regime::Holding},
    id::ReleaseId,
    statement::{Body, SnapshotSealed},
};

use crate::{
    common::mounted::can_mount,
    desk::{Host, damage, noise, other, snapshot, target},
};

fn repaired(host: &Host) -> Vec<(Ranges, u64)> {
    let said = host.said().into_iter();
    said.filter_map(|(body, _)| match body {
        Body::CopyRepaired(said) => Some((said.rows, said.bytes)),
        _ => None,
    })
    .collect()
}

#[test]
fn a_lost_file_of_a_vaults_copy_is_put_back_and_that_is_said() {
    if !can_mount("a_lost_file_of_a_vaults_copy_is_put_back_and_that_is_said") {
        return;
    }
    let host = Host::new("ext4", 64);
    let (_disk, place) = other("ext4", 64);
    let files = host.files("alice/mail", &[20_000, 50_000]);
    let content = fs::read(&files[1]).unwrap();
    let sealed = host.hold(1, "alice", Holding::Preserve);
    assert_eq!(sealed.mechanism, Mechanism::SealedCopy);
    let fixity = host.fixity(vec![place]);
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    assert_eq!(host.kinds(), ["copy.made", "fixity.checked"]);
    // The customer's own file is another: the medium loses both.
    let copy = host
        .root
        .join(format!(".holdfast-vault/{}/tree/mail/file-0001", target(1)));
    damage(&host.disk, &files[1], 5);
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(
        host.kinds()[2..],
        ["finding", "copy.repaired", "fixity.checked"],
        "first that it was lost, then that it is back"
    );
    assert_eq!(repaired(&host)[0].1, 50_000);
    assert_eq!(fs::read(&copy).unwrap(), content);
    let keeper = &host.desk.keeper;
    assert_eq!(keeper.check(target(1), &Progress::default()).unwrap(), []);
    assert!(
        keeper
            .prove(target(1), &Progress::default())
            .unwrap()
            .holds()
    );
    assert!(fs::write(&copy, b"x").is_err(), "sealed again");
    assert!(fs::write(copy.with_file_name("new"), b"x").is_err());
    assert_eq!(fs::read_dir(copy.parent().unwrap()).unwrap().count(), 2);
    host.days_pass(30);
    host.work(&mut worker);
    let said = host.said();
    let Some((Body::FixityChecked(checked), _)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!((checked.round, checked.rows, checked.differ), (3, 2, 0));
    assert!(host.register(1).is_empty());
}

fn parcel(host: &Host, sealed: &SnapshotSealed, base: Base) -> Result<u64, PackError> {
    let state = host.desk.evidence.snapshot(&snapshot(1)).unwrap().unwrap();
    let part = Part {
        snapshot: snapshot(1),
        manifest: host.desk.evidence.manifest(&snapshot(1)),
        root: sealed.root,
        rows: sealed.rows,
        key: state.key().unwrap(),
        chosen: Ranges::from_unsorted(vec![(0, sealed.rows)]),
    };
    let what = Packing {
        release: ReleaseId::from_random([3; 16]),
        recipient: &age::x25519::Identity::generate().to_public().to_string(),
        parts: &[(part, base)],
        out: &host.data.path().join("parcel"),
        pace: &|_| {},
    };
    let packed = pack(
        &what,
        &agent::capture::seal::Progress::default(),
        |_| Ok(()),
    );
    packed.map(|packed| packed.files)
}

#[test]
fn an_original_is_never_written_and_its_owner_gets_the_second_copys_bytes() {
    if !can_mount("an_original_is_never_written_and_its_owner_gets_the_second_copys_bytes") {
        return;
    }
    // One file system tells wrong bytes, the other that they cannot be read.
    for (kind, size) in [("ext4", 64), ("btrfs", 192)] {
        let host = Host::new(kind, size);
        let (_disk, place) = other("ext4", 64);
        let files = host.files("alice", &[20_000, 50_000, 10_000]);
        let path = host.root.join("alice");
        let keeper = &host.desk.keeper;
        let sealed = host.hold(1, "alice", Holding::Freeze);
        let fixity = host.fixity(vec![place]);
        let mut worker = host.worker(&fixity);
        host.work(&mut worker);
        damage(&host.disk, &files[1], 5);
        host.days_pass(30);
        host.work(&mut worker);
        assert_eq!(
            host.kinds()[2..],
            ["finding", "copy.repaired", "fixity.checked"],
            "{kind}"
        );
        let (rows, bytes) = repaired(&host).remove(0);
        assert_eq!((rows.count(), bytes), (1, 50_000));
        assert!(host.register(1)[0].copy, "the second copy has it");

        // As after a restart of the machine.
        let file = fs::File::open(&files[1]).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let source = || Base::open(&keeper.source(target(1)).unwrap()).unwrap();
        let alone = parcel(&host, &sealed, source());
        assert!(
            matches!(alone, Err(PackError::Differ { .. } | PackError::Io(_))),
            "{alone:?}"
        );
        let spare = || fixity.spare(&snapshot(1));
        let packed = parcel(&host, &sealed, source().with_spare(spare()));
        assert_eq!(packed.unwrap(), 3, "{kind}");
        let packed = parcel(&host, &sealed, Base::lost(spare().unwrap()));
        assert_eq!(packed.unwrap(), 3, "{kind}, without its disk");

        // The original is as its disk left it, and said once.
        assert_eq!(keeper.check(target(1), &Progress::default()).unwrap(), []);
        assert!(fs::write(path.join("file-0001"), b"x").is_err());
        host.days_pass(30);
        host.work(&mut worker);
        assert_eq!(host.kinds()[5..], ["fixity.checked"], "{kind}");
    }
}

#[test]
fn a_copy_is_made_once_for_the_same_bytes_and_mends_itself() {
    if !can_mount("a_copy_is_made_once_for_the_same_bytes_and_mends_itself") {
        return;
    }
    let host = Host::new("ext4", 64);
    let (disk, place) = other("ext4", 64);
    let files = host.files("alice", &[40_000, 30_000, 0]);
    fs::copy(&files[0], host.root.join("alice/same")).unwrap();
    host.hold(1, "alice", Holding::Freeze);
    let fixity = host.fixity(vec![place.clone()]);
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    let made = host.said().into_iter().find_map(|(body, _)| match body {
        Body::CopyMade(made) => Some((made.files, made.bytes)),
        _ => None,
    });
    assert_eq!(made, Some((4, 110_000)));
    let kept = place.path.join(snapshot(1).to_string());
    let count = |folder: &Path| -> usize {
        let folders = fs::read_dir(folder).unwrap();
        folders
            .map(|f| fs::read_dir(f.unwrap().path()).unwrap().count())
            .sum()
    };
    assert_eq!(count(&kept), 3, "the same bytes are there once");
    let digest = Digest::of(&fs::read(&files[1]).unwrap()).to_string();
    let file = kept.join(&digest[..2]).join(&digest);
    assert!(fs::write(&file, b"x").is_err(), "sealed");
    damage(&disk, &file, 2);
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(host.shown()[0].state.copy.as_ref().unwrap().remade, 1);
    assert_eq!(
        host.kinds()[2..],
        ["fixity.checked"],
        "what is held is whole"
    );
    drop(fs::File::open(&file).unwrap());
    assert_eq!(fs::read(&file).unwrap(), fs::read(&files[1]).unwrap());
    // With the hold goes its copy.
    host.lower(1);
    host.days_pass(1);
    host.work(&mut worker);
    assert!(!kept.exists());
}

#[test]
fn a_copy_that_would_be_lost_with_its_original_is_refused() {
    if !can_mount("a_copy_that_would_be_lost_with_its_original_is_refused") {
        return;
    }
    let host = Host::new("ext4", 64);
    host.files("alice", &[9_000]);
    host.hold(1, "alice", Holding::Freeze);
    let (_disk, place) = other("ext4", 64);
    let inside = host.root.join("copies");
    fs::create_dir(&inside).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
    let own = SecondCopy {
        path: inside,
        ..place.clone()
    };
    // Both images lie on one disk of this machine.
    let same_disk = SecondCopy {
        same_disk: false,
        ..place.clone()
    };
    let away = SecondCopy {
        path: place.path.join("not-there"),
        ..place.clone()
    };
    for (place, why) in [
        (own, "on the file system that it would be a copy of"),
        (same_disk, "same_disk = true"),
        (away, "Mount it"),
    ] {
        let fixity = host.fixity(vec![place]);
        let mut worker = host.worker(&fixity);
        host.work(&mut worker);
        host.days_pass(1);
        let trouble = host.shown()[0].state.copy_trouble.clone().unwrap();
        assert!(trouble.contains(why), "{trouble}");
    }
    assert!(!host.kinds().contains(&"copy.made"));
}

#[test]
fn what_is_at_risk_is_copied_once_it_is_and_what_is_lost_by_then_is_told() {
    if !can_mount("what_is_at_risk_is_copied_once_it_is_and_what_is_lost_by_then_is_told") {
        return;
    }
    let host = Host::new("ext4", 64);
    let (_disk, place) = other("ext4", 64);
    let files = host.files("alice", &[9_000, 12_000, 8_000]);
    host.hold(1, "alice", Holding::Freeze);
    let wary = SecondCopy {
        only: Only::AtRisk,
        ..place
    };
    let fixity = host.fixity(vec![wary]);
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    assert!(host.shown()[0].state.copy.is_none(), "nothing is at risk");
    damage(&host.disk, &files[1], 1);
    host.days_pass(30);
    host.work(&mut worker);
    let copy = || host.shown()[0].state.copy.clone().unwrap();
    assert_eq!((copy().files, copy().missing, copy().whole), (2, 1, false));
    assert!(!host.kinds().contains(&"copy.made"), "it is not whole");
    // That is tried again with the next round, and not every day.
    let asked = || host.desk.asked.load(std::sync::atomic::Ordering::Relaxed);
    let before = asked();
    host.days_pass(3);
    host.work(&mut worker);
    assert_eq!(asked(), before);
    host.days_pass(27);
    host.work(&mut worker);
    assert_eq!((copy().files, copy().missing), (2, 1));
    assert!(asked() > before);
}

#[test]
fn a_full_place_is_said_in_words_and_tried_again() {
    if !can_mount("a_full_place_is_said_in_words_and_tried_again") {
        return;
    }
    let host = Host::new("ext4", 64);
    host.files("alice", &[6 << 20, 6 << 20]);
    host.hold(1, "alice", Holding::Freeze);
    let (disk, place) = other("ext4", 64);
    // Some room is always left for others.
    let filler = disk.path().join("filler");
    fs::write(&filler, noise(40 << 20)).unwrap();
    let fixity = host.fixity(vec![place]);
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    let trouble = host.shown()[0].state.copy_trouble.clone().unwrap();
    assert!(trouble.contains("no room"), "{trouble}");
    assert_eq!(host.kinds(), ["fixity.checked"], "reading again goes on");
    fs::remove_file(filler).unwrap();
    host.clock
        .fetch_add(600_000, std::sync::atomic::Ordering::Relaxed);
    host.work(&mut worker);
    assert_eq!(host.kinds(), ["fixity.checked", "copy.made"]);
    assert_eq!(host.shown()[0].state.copy_trouble, None);
}

#[test]
fn what_has_left_a_hold_is_neither_accused_nor_kept_in_the_copy() {
    if !can_mount("what_has_left_a_hold_is_neither_accused_nor_kept_in_the_copy") {
        return;
    }
    let host = Host::new("ext4", 64);
    let (_disk, place) = other("ext4", 64);
    let mail = host.files("alice/mail", &[40_000, 30_000]);
    let web = host.files("alice/web", &[20_000]);
    fs::copy(&mail[0], host.root.join("alice/web/same")).unwrap();
    host.hold(1, "alice", Holding::Freeze);
    let digests = [&mail[0], &mail[1], &web[0]].map(|file| Digest::of(&fs::read(file).unwrap()));
    let fixity = host.fixity(vec![place.clone()]);
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    let kept = |digest: &Digest| {
        let digest = digest.to_string();
        let folder = place.path.join(snapshot(1).to_string());
        folder.join(&digest[..2]).join(&digest).exists()
    };
    assert_eq!(digests.each_ref().map(kept), [true; 3]);
    let leave = [host.root.join("alice/mail")];
    let keeper = &host.desk.keeper;
    keeper
        .narrow(target(1), &leave, &Progress::default())
        .unwrap();
    fs::write(&mail[1], b"mine again").unwrap();
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(
        digests.each_ref().map(kept),
        [true, false, true],
        "the first has the bytes of one that stays"
    );
    let said = host.said();
    let Some((Body::FixityChecked(checked), _)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!((checked.round, checked.rows, checked.bytes), (2, 2, 60_000));
    assert_eq!((checked.differ, checked.unreadable), (0, 0));
    assert!(!host.kinds().contains(&"finding"));
}
