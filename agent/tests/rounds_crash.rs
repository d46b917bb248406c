//! Two hundred seeded crash rounds: a real process that raises, lowers and captures is killed
//! (SIGKILL) at a random moment and begun again until it is done. Meanwhile nothing is called raised
//! that is not, nothing held is lost, flags of others stay, and a capture that was broken off comes
//! to the same root as one that was not.
//!
//! HOLDFAST_SEED gives other rounds, HOLDFAST_ROUNDS more of them: a round is one kill. Half of them
//! are of holds, half of captures.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/child.rs"]
mod child;
mod common;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use agent::{
    capture::seal::{Capture, Progress, Sealed, capture},
    enforce::{Phase, flag},
};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    trees::{Seeded, is_flagged, keeper, on, target},
};
use custody::{
    digest::Digest,
    house::regime::Holding::Freeze,
    id::SnapshotId,
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
    },
};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The seed, and the kills of each half.
fn campaign() -> (u64, u64) {
    let (seed, rounds) = (
        number("HOLDFAST_SEED", 2012),
        number("HOLDFAST_ROUNDS", 200),
    );
    eprintln!("HOLDFAST_SEED={seed} HOLDFAST_ROUNDS={rounds}");
    (seed, rounds.div_ceil(2))
}

fn plant(data: &Path, dice: &mut Seeded, files: u64, most: u64) {
    for number in 0..files {
        let folder = data.join(format!("{}/{}", number % 3, number % 5));
        fs::create_dir_all(&folder).unwrap();
        let length = usize::try_from(dice.below(most)).unwrap();
        let bytes = dice.below(u64::MAX).to_le_bytes();
        let content: Vec<u8> = bytes.into_iter().cycle().take(length).collect();
        fs::write(folder.join(format!("file {number}")), content).unwrap();
    }
}

/// One thing that is done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Raise(u8),
    Lower(u8),
}

/// What is done, in order: targets that overlap come and go, and two stay.
const ACTS: [Act; 8] = [
    Act::Raise(1),
    Act::Raise(2),
    Act::Lower(1),
    Act::Raise(3),
    Act::Raise(1),
    Act::Lower(2),
    Act::Raise(4),
    Act::Lower(1),
];

/// Where a target lies.
fn place_of(data: &Path, target: u8) -> PathBuf {
    match target {
        1 => data.to_owned(),
        2 => data.join("0"),
        3 => data.join("0/0"),
        _ => data.join("1"),
    }
}

/// The process of the next test: goes on with the acts where they stand.
#[test]
fn the_holder() {
    let Some(place) = child::place() else { return };
    let at = |name| PathBuf::from(fs::read_to_string(place.join(name)).unwrap());
    let (keeper, data) = (keeper(&place.join("state"), &at("root")), at("data"));
    let mut done = File::options()
        .append(true)
        .open(place.join("done"))
        .unwrap();
    let begun = fs::read_to_string(place.join("done"))
        .unwrap()
        .lines()
        .count();
    child::say("there");
    for act in &ACTS[begun..] {
        match act {
            Act::Raise(n) => {
                keeper
                    .raise(target(*n), &place_of(&data, *n), Freeze, &on())
                    .unwrap();
            }
            Act::Lower(n) => {
                keeper.lower(target(*n), &on()).unwrap();
            }
        }
        // What is said follows what is done.
        writeln!(done, "{act:?}").unwrap();
        done.sync_all().unwrap();
    }
}

/// Starts the process and waits until it works.
fn start(test: &str, place: &Path) -> Child {
    let mut child = child::command(&[], test, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let there = lines.by_ref().any(|line| line.unwrap().ends_with("there"));
    assert!(there, "it never began");
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn a_holder_killed_at_any_moment_loses_nothing_and_calls_nothing_held_that_is_not() {
    let test = "a_holder_killed_at_any_moment_loses_nothing_and_calls_nothing_held_that_is_not";
    if !can_mount(test) {
        return;
    }
    let (seed, rounds) = campaign();
    let mut dice = Seeded(seed);
    let fresh = |(kind, size)| (kind, Mounted::new(kind, size), tempfile::tempdir().unwrap());
    let mounted = KINDS.map(fresh);
    let (mut kills, mut cases, mut between) = (0, 0, 0);
    while kills < rounds {
        let (kind, mounted, folder) = &mounted[cases % 3];
        cases += 1;
        let case = Case::new(folder.path(), mounted.path(), cases, &mut dice);
        loop {
            let mut holder = start("the_holder", case.place());
            std::thread::sleep(Duration::from_micros(dice.below(60_000)));
            let ended = holder.try_wait().unwrap();
            if ended.is_none() {
                kills += 1;
                holder.kill().unwrap();
            }
            let ended = holder.wait().unwrap();
            let acts = case.acts();
            between += u64::from(!ended.success() && acts > 0 && acts < ACTS.len());
            case.look(
                acts,
                &format!("{kind}, seed {seed}, case {cases}, after {acts} acts"),
            );
            if acts == ACTS.len() {
                assert!(ended.success() || ended.code().is_none(), "{ended}");
                break;
            }
            assert!(ended.code().is_none(), "it failed: {ended}");
        }
        case.end();
    }
    eprintln!(
        "{kills} kills in {cases} cases, {between} of them between the first act and the last"
    );
    assert!(
        between * 3 > rounds || rounds < 20,
        "kills that meet nothing show nothing"
    );
}

struct Case {
    /// What the process keeps, from case to case.
    folder: PathBuf,
    root: PathBuf,
    data: PathBuf,
    theirs: Vec<PathBuf>,
}

impl Case {
    fn new(folder: &Path, root: &Path, number: usize, dice: &mut Seeded) -> Self {
        let data = root.join(format!("case-{number}"));
        plant(&data, dice, 60, 3000);
        // Flags of others, on files and on a folder.
        let theirs: Vec<_> = ["0/0/file 0", "1/1/file 1", "2/2"]
            .map(|at| data.join(at))
            .into();
        for path in &theirs {
            flag::set(File::open(path).unwrap(), true).unwrap();
        }
        fs::write(folder.join("root"), root.to_str().unwrap()).unwrap();
        fs::write(folder.join("data"), data.to_str().unwrap()).unwrap();
        fs::write(folder.join("done"), "").unwrap();
        Self {
            folder: folder.to_owned(),
            root: root.to_owned(),
            data,
            theirs,
        }
    }

    fn place(&self) -> &Path {
        &self.folder
    }

    fn acts(&self) -> usize {
        fs::read_to_string(self.place().join("done"))
            .unwrap()
            .lines()
            .count()
    }

    fn all(&self) -> Vec<PathBuf> {
        let (mut all, mut folders) = (vec![self.data.clone()], vec![self.data.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                all.push(path);
            }
        }
        all
    }

    /// Looks at what is there after so many acts were said to be done.
    fn look(&self, acts: usize, what: &str) {
        let mut held = BTreeSet::new();
        for act in &ACTS[..acts] {
            match act {
                Act::Raise(n) => _ = held.insert(*n),
                Act::Lower(n) => _ = held.remove(n),
            }
        }
        let next = ACTS.get(acts).copied();
        // The one that is being lowered may be anywhere.
        if let Some(Act::Lower(n)) = next {
            held.remove(&n);
        }
        let all = self.all();
        let covered = |path: &Path, n: &u8| path.starts_with(place_of(&self.data, *n));
        for path in &all {
            let must = held.iter().any(|n| covered(path, n)) || self.theirs.contains(path);
            assert!(
                !must || is_flagged(path),
                "{what}: {path:?} is not held any more"
            );
        }
        // Whatever has a record that calls it raised is raised, also where it was not yet said.
        let keeper = keeper(&self.place().join("state"), &self.root);
        for record in keeper
            .all()
            .iter()
            .filter(|record| record.phase == Phase::Raised)
        {
            let found = keeper.check(record.target, &on()).unwrap();
            assert_eq!(found, [], "{what}: {:?} is called raised", record.target);
        }
        if next.is_none() {
            for path in &all {
                let is_covered = held.iter().any(|n| covered(path, n));
                let must = is_covered || self.theirs.contains(path);
                assert_eq!(is_flagged(path), must, "{what}: {path:?} in the end");
            }
            for target in held.into_iter().map(target) {
                assert!(keeper.prove(target, &on()).unwrap().holds(), "{what}");
            }
        }
    }

    /// Frees all, and looks whether anything is left behind.
    fn end(&self) {
        let keeper = keeper(&self.place().join("state"), &self.root);
        for n in 1..=4 {
            keeper.lower(target(n), &on()).unwrap();
        }
        for path in self.all() {
            assert_eq!(is_flagged(&path), self.theirs.contains(&path), "{path:?}");
        }
        assert_eq!(parts(&self.place().join("state")), Vec::<PathBuf>::new());
        for path in &self.theirs {
            flag::set(File::open(path).unwrap(), false).unwrap();
        }
        fs::remove_dir_all(&self.data).unwrap();
    }
}

/// What was written aside and not put in place.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(parts(&path));
        } else if path.to_string_lossy().contains(".part") {
            // Also the parts of a capture that is to go on.
            found.push(path);
        }
    }
    found
}

const NAME: &str = "data";

fn what_is_captured<'a>(
    root: &'a File,
    out: &'a Path,
    key: &'a SnapshotKey,
    snapshot: SnapshotId,
) -> Capture<'a> {
    Capture {
        root: root.as_fd(),
        relative: Path::new(NAME),
        exclude: Vec::new(),
        origins: None,
        snapshot,
        key,
        out,
        threads: 2,
    }
}

fn taken(root: &Path, folder: &Path, number: u8) -> Sealed {
    let (root, out) = (File::open(root).unwrap(), folder.join("manifest.parquet"));
    let key = SnapshotKey::from_random([number; 32]);
    let snapshot = SnapshotId::from_random([number; 16]);
    let what = what_is_captured(&root, &out, &key, snapshot);
    capture(&what, &Progress::default()).unwrap()
}

/// The process of the next test: begins a capture, or goes on with it.
#[test]
fn the_capturer() {
    let Some(place) = child::place() else { return };
    let root = PathBuf::from(fs::read_to_string(place.join("root")).unwrap());
    let number = fs::read_to_string(place.join("number"))
        .unwrap()
        .parse()
        .unwrap();
    child::say("there");
    let sealed = taken(&root, &place, number);
    fs::write(place.join("came-to"), format!("{sealed:?}")).unwrap();
}

#[test]
fn a_capture_killed_at_any_moment_comes_to_the_root_of_one_that_was_not() {
    if !can_mount("a_capture_killed_at_any_moment_comes_to_the_root_of_one_that_was_not") {
        return;
    }
    let (seed, rounds) = campaign();
    let mut dice = Seeded(seed ^ 0xca97);
    let state = tempfile::tempdir().unwrap();
    let mounted = KINDS.map(|(kind, size)| {
        let mounted = Mounted::new(kind, size + 128);
        plant(&mounted.path().join(NAME), &mut dice, 250, 300_000);
        let keeper = keeper(&state.path().join(kind), mounted.path());
        keeper
            .raise(target(1), &mounted.path().join(NAME), Freeze, &on())
            .unwrap();
        (kind, mounted, keeper)
    });
    let (mut kills, mut cases, mut reading) = (0, 0_u8, 0);
    while kills < rounds {
        let (kind, mounted, _) = &mounted[usize::from(cases) % 3];
        cases += 1;
        let what = format!("{kind}, seed {seed}, case {cases}");
        let [broken, whole] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let began = Instant::now();
        let expected = taken(mounted.path(), whole.path(), cases);
        let takes = u64::try_from(began.elapsed().as_micros()).unwrap();
        fs::write(broken.path().join("root"), mounted.path().to_str().unwrap()).unwrap();
        fs::write(broken.path().join("number"), cases.to_string()).unwrap();
        loop {
            let mut capturer = start("the_capturer", broken.path());
            std::thread::sleep(Duration::from_micros(dice.below(takes)));
            if capturer.try_wait().unwrap().is_none() {
                kills += 1;
                capturer.kill().unwrap();
            }
            let ended = capturer.wait().unwrap();
            if ended.success() {
                break;
            }
            assert!(ended.code().is_none(), "{what}: it failed: {ended}");
            reading += u64::from(!parts(broken.path()).is_empty());
        }
        let came_to = fs::read_to_string(broken.path().join("came-to")).unwrap();
        // The same rows and the same salts: the same root, and not a byte of the file differs.
        assert_eq!(came_to, format!("{expected:?}"), "{what}");
        let [broken_file, whole_file] = [&broken, &whole]
            .map(|folder| Digest::of(&fs::read(folder.path().join("manifest.parquet")).unwrap()));
        assert_eq!(
            (broken_file, whole_file),
            (expected.manifest, expected.manifest)
        );
        let file = File::open(broken.path().join("manifest.parquet")).unwrap();
        let checked = check(Reader::open(file).unwrap(), None, &expected.root).unwrap();
        assert_eq!(
            (checked.rows, checked.unreadable),
            (expected.rows, 0),
            "{what}"
        );
    }
    eprintln!("{kills} kills in {cases} cases, {reading} of them in the middle of a manifest");
    assert!(
        reading * 3 > rounds || rounds < 20,
        "kills that meet nothing show nothing"
    );
    for (_, _, keeper) in &mounted {
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
        keeper.lower(target(1), &on()).unwrap();
    }
}
