//! Ten million rows through a whole capture: its memory must not grow with them.
//!
//! The rows are no files: they come as the origins of a vault do, through a pipe, and go through
//! walk, queue, readers, seal and manifest like any others.

use std::{fs::File, io::BufWriter, io::Write as _, path::Path, process::Command};

use custody::{
    digest::Digest,
    manifest::row::{Kind, Row, Status},
};

use crate::{
    MEMORY,
    common::{Contender, Sequence, contest, place},
};

const FEW: u64 = 100_000;
const MANY: u64 = 10_000_000;

/// Captures few rows and many, and prints what that took.
pub(crate) fn measured() {
    let contender = |name, count: u64| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("--rows")
            .arg(count.to_string())
            .arg(place("rows.parquet"));
        Contender {
            name,
            command,
            prepare: None,
            rounds: 1,
        }
    };
    let all = vec![
        contender("100,000 rows", FEW),
        contender("10,000,000 rows", MANY),
    ];
    let results = contest(all, 2);
    let manifest = std::fs::metadata(place("rows.parquet"))
        .expect("a manifest")
        .len();
    println!("\n### Rows through a capture, without files\n");
    println!("| | seconds | rows/s | CPU s | peak MiB |\n|---|---|---|---|---|");
    for (result, count) in results.iter().zip([FEW, MANY]) {
        let seconds = result.best.as_secs_f64();
        println!(
            "| {} | {seconds:.2} | {:.0} | {:.2} | {:.1} |",
            result.name,
            count as f64 / seconds,
            result.cpu,
            result.memory as f64 / 1024.0
        );
    }
    let word = if results[1].memory <= MEMORY {
        "reached"
    } else {
        "**missed**"
    };
    let size = manifest as f64 / 1e6;
    println!(
        "\nAt most {} MiB: {word}. The larger manifest has {size:.0} MB.",
        MEMORY >> 10
    );
}

/// One capture of so many rows.
pub(crate) fn captured(count: &str, out: &Path) {
    let count: u64 = count.parse().expect("a number of rows");
    let folder = tempfile::tempdir().expect("a folder");
    let (root, pipe) = (folder.path().join("root"), folder.path().join("origins"));
    std::fs::create_dir(&root).expect("a folder");
    let made = Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to = BufWriter::with_capacity(1 << 20, File::create(&pipe).expect("a pipe"));
            let mut sequence = Sequence(11);
            for index in 0..count {
                serde_json::to_writer(&mut to, &row(index, &mut sequence)).expect("a row is read");
                to.write_all(b"\n").expect("a row is read");
            }
        });
        let sealed = crate::seal(&root, out, Some(&pipe));
        // The empty folder is one row more.
        assert_eq!(sealed.rows, count + 1);
        println!("{} {}", sealed.rows, sealed.root);
    });
}

/// A row like those of a large tree: what is not read of its file is known already.
fn row(index: u64, sequence: &mut Sequence) -> Row {
    let mut hash = [0; 32];
    for word in hash.as_chunks_mut::<8>().0 {
        *word = sequence.next().to_le_bytes();
    }
    let path = format!(
        "var/customers/{:05}/sites/www.example.org/uploads/{:04}/picture-{index:08}.jpeg",
        index / 4000,
        index / 100 % 40
    );
    let time = 1_700_000_000_000_000_000 + i64::try_from(sequence.next() >> 8).unwrap_or(0);
    Row {
        kind: Kind::File,
        size: sequence.next() >> 44,
        sha256: Some(Digest::from_bytes(hash)),
        mtime_ns: time,
        ctime_ns: time + 1,
        mode: 0o644,
        uid: 33,
        gid: 33,
        nlink: 1,
        inode: 4_000_000 + index,
        status: Status::NotOpened,
        ..Row::unknown(index, path.into_bytes(), "synthetic")
    }
}
