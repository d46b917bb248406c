//! Media that lose what they were given: real file systems on images that are damaged below them.

use std::os::unix::ffi::OsStrExt as _;

use agent::fixity::register::Wrong;
use custody::{
    house::{finding::FindingKind, regime::Holding},
    manifest::file::Reader,
    statement::Body,
};

use crate::{
    common::mounted::can_mount,
    desk::{Host, damage, snapshot, target},
};

#[test]
fn bytes_that_changed_on_a_disk_are_found_at_their_place_and_said_once() {
    if !can_mount("bytes_that_changed_on_a_disk_are_found_at_their_place_and_said_once") {
        return;
    }
    let host = Host::new("ext4", 64);
    let files = host.files("alice", &[20_000, 50_000, 9_000]);
    let sealed = host.hold(1, "alice", Holding::Freeze);
    let fixity = host.fixity(Vec::new());
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    assert_eq!(host.kinds(), ["fixity.checked"], "all is well");

    // Read before, so that the page cache still has the right bytes: the medium counts.
    damage(&host.disk, &files[1], 3);
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(
        host.kinds(),
        ["fixity.checked", "finding", "fixity.checked"]
    );
    let said = host.said();
    let Some((Body::Finding(finding), openings)) =
        said.iter().find(|(body, _)| body.kind() == "finding")
    else {
        panic!("{said:?}")
    };
    assert_eq!(finding.what, FindingKind::FixityDiffers);
    assert_eq!((finding.count, finding.target), (1, Some(target(1))));
    let manifest = host.desk.evidence.manifest(&snapshot(1));
    let rows = Reader::open(std::fs::File::open(manifest).unwrap()).unwrap();
    let row = rows
        .map(Result::unwrap)
        .find(|stored| stored.row.as_ref().unwrap().path == b"file-0001")
        .unwrap();
    assert_eq!(finding.evidence, [row.leaf]);
    assert_eq!(openings[0].value, files[1].as_os_str().as_bytes());
    assert_eq!(finding.places, [openings[0].commitment()]);
    let Some((Body::FixityChecked(checked), _)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!(
        (checked.round, checked.rows, checked.bytes),
        (2, 3, sealed.bytes)
    );
    assert_eq!((checked.differ, checked.unreadable), (1, 0));

    // The same again is no news; more of it is.
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(host.kinds()[3..], ["fixity.checked"]);
    damage(&host.disk, &files[2], 0);
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(host.kinds()[4..], ["finding", "fixity.checked"]);
    let briefs = fixity.briefs();
    assert_eq!((briefs[0].differ, briefs[0].unreadable), (2, 0));
}

#[test]
fn a_target_that_is_one_file_is_named_by_its_own_path() {
    if !can_mount("a_target_that_is_one_file_is_named_by_its_own_path") {
        return;
    }
    let host = Host::new("ext4", 64);
    let files = host.files("alice", &[20_000]);
    host.hold(1, "alice/file-0000", Holding::Freeze);
    damage(&host.disk, &files[0], 4);
    let fixity = host.fixity(Vec::new());
    host.work(&mut host.worker(&fixity));
    assert_eq!(host.kinds(), ["finding", "fixity.checked"]);
    let said = host.said();
    let place = said
        .iter()
        .find(|(body, _)| body.kind() == "finding")
        .unwrap();
    assert_eq!(place.1[0].value, files[0].as_os_str().as_bytes());
}

#[test]
fn blocks_that_cannot_be_read_are_named_by_their_ranges() {
    if !can_mount("blocks_that_cannot_be_read_are_named_by_their_ranges") {
        return;
    }
    // btrfs has a checksum for each block: what its medium changed it refuses to read (EIO).
    let host = Host::new("btrfs", 192);
    let files = host.files("alice", &[16 * 4096, 300_000]);
    host.hold(1, "alice", Holding::Freeze);
    for block in [2, 3, 10] {
        damage(&host.disk, &files[0], block);
    }
    damage(&host.disk, &files[1], 73);
    let fixity = host.fixity(Vec::new());
    host.work(&mut host.worker(&fixity));
    // At once, and again when there is twice as much.
    assert_eq!(host.kinds(), ["finding", "finding", "fixity.checked"]);
    let said = host.said();
    let found = said.iter().rev().find_map(|(body, _)| match body {
        Body::Finding(finding) => Some((finding.what, finding.count)),
        _ => None,
    });
    assert_eq!(found, Some((FindingKind::Unreadable, 2)));
    let Some((Body::FixityChecked(checked), _)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!(
        (checked.rows, checked.differ, checked.unreadable),
        (2, 0, 2)
    );
    let items = host.register(1);
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].path, "file-0000");
    assert_eq!(items[0].wrong, Some(Wrong::Unreadable));
    assert_eq!(items[0].reason.as_deref(), Some("EIO"));
    let block = 4096;
    assert_eq!(
        items[0].ranges,
        [(2 * block, 4 * block), (10 * block, 11 * block)]
    );
    // The last block ends where the file does.
    assert_eq!(items[1].ranges, [(73 * block, 300_000)]);
    assert!(!items[0].gave_up && !items[1].gave_up);
    let text = agent::fixity::show::text(&host.shown());
    assert!(text.contains("2 cannot be read"), "{text}");
    assert!(
        text.contains("bytes 8192-16384 40960-45056 of 65536"),
        "{text}"
    );
}

#[test]
fn a_disk_that_ends_too_early_is_tried_in_bounds() {
    if !can_mount("a_disk_that_ends_too_early_is_tried_in_bounds") {
        return;
    }
    let host = Host::new("ext4", 64);
    let files = host.files("alice", &[24 << 20]);
    host.hold(1, "alice", Holding::Freeze);
    let status = std::process::Command::new("sync")
        .arg("-f")
        .arg(host.disk.path())
        .status();
    assert!(status.unwrap().success());
    // All behind the first mebibytes of the medium is gone: the kernel reports EIO for it.
    let image = host.disk.path().parent().unwrap().join("image");
    let whole = std::fs::metadata(&image).unwrap().len();
    let image = std::fs::File::options().write(true).open(&image).unwrap();
    let cut = first_block_of(&files[0]) + (4 << 20);
    let lost = std::fs::read(host.disk.path().parent().unwrap().join("image")).unwrap();
    image.set_len(cut).unwrap();
    let fixity = host.fixity(Vec::new());
    host.work(&mut host.worker(&fixity));
    // Given back, so that the file system can be unmounted as it was.
    image.set_len(whole).unwrap();
    use std::os::unix::fs::FileExt as _;
    image
        .write_all_at(&lost[usize::try_from(cut).unwrap()..], cut)
        .unwrap();
    assert_eq!(host.kinds(), ["finding", "fixity.checked"]);
    let items = host.register(1);
    let [item] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(
        (item.wrong, item.reason.as_deref()),
        (Some(Wrong::Unreadable), Some("EIO"))
    );
    assert!(item.gave_up, "it did not try every block of what is lost");
    assert_eq!(item.ranges.last().unwrap().1, 24 << 20);
    let first = item.ranges[0].0;
    assert!(
        (1 << 20..=4 << 20).contains(&first),
        "what comes before can be read: {first}"
    );
}

/// Where a file begins on its medium.
fn first_block_of(file: &std::path::Path) -> u64 {
    let out = std::process::Command::new("filefrag")
        .args(["-b4096", "-v"])
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("0:"))
        .unwrap();
    let physical = line.split(':').nth(2).unwrap();
    physical
        .split("..")
        .next()
        .unwrap()
        .trim()
        .parse::<u64>()
        .unwrap()
        * 4096
}
