//! An agent that is killed while it raises, captures, packs and sends, and a coordinator that is
//! killed while it receives. What is held stays held meanwhile, by the file system alone.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use custody::{
    digest::Digest,
    ledger::chain::{self, ChainHead},
    statement::{Author, Body, Statement},
};
use serde_json::Value;

use crate::{
    chance::Chance,
    common::{Desk, until},
    truth::Truth,
};

const STORE: &str = "store";

/// Cases until so many kills were survived.
pub fn campaign(mut chance: Chance, rounds: u64) {
    let mut desk = Desk::new();
    for (name, roles) in [
        ("intake", "intake"),
        ("operator", "operator,custodian"),
        ("claims", "claims"),
        ("a1", "approver"),
        ("a2", "approver"),
    ] {
        desk.add(name, roles);
    }
    fs::create_dir_all(desk.at(STORE)).unwrap();
    desk.agent(STORE);
    let mut campaign = Campaign {
        truth: Truth::new(&desk),
        runtime: tokio::runtime::Runtime::new().unwrap(),
        desk,
        kills: 0,
        met: 0,
    };
    let mut cases = 0;
    while campaign.kills < rounds {
        campaign.case(cases, &mut chance);
        cases += 1;
    }
    campaign.end(cases);
}

struct Campaign {
    desk: Desk,
    truth: Truth,
    runtime: tokio::runtime::Runtime,
    kills: u64,
    /// Kills that met the very moment they were meant for.
    met: u64,
}

/// When somebody is killed.
#[derive(Clone, Copy)]
enum Moment {
    /// At any moment within so many microseconds.
    Any(u64),
    /// While a file of this folder is being written.
    Writing(&'static str),
    /// The coordinator, while it receives.
    Receiving,
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

impl Campaign {
    fn case(&mut self, number: u64, chance: &mut Chance) {
        let place = self.desk.at(&format!("{STORE}/case-{number}"));
        let held = plant(&place, chance);
        let freeze = chance.below(2) == 0;
        let (hold, snapshot) = self.ask(&place, freeze);
        let moments = [
            Moment::Any(150_000),
            Moment::Any(30_000),
            Moment::Writing("manifests"),
            Moment::Receiving,
        ];
        let first = moments[usize::try_from(chance.below(4)).unwrap()];
        self.strike(first, chance);
        if chance.below(2) == 0 {
            self.strike(Moment::Any(100_000), chance);
        }
        until("the snapshot is received", || {
            let shot = self.show("snapshot", &snapshot);
            assert_ne!(shot["state"], "failed", "{shot}");
            (shot["state"] == "received").then_some(())
        });
        until("the hold is proved", || {
            (self.show("hold", &hold)["held"] == true).then_some(())
        });
        if freeze && chance.below(2) == 0 {
            self.holds_with_no_agent(&held);
        }
        let release = self.release(&place);
        let moments = [
            Moment::Any(300_000),
            Moment::Writing("parcels"),
            Moment::Receiving,
        ];
        let second = moments[usize::try_from(chance.below(3)).unwrap()];
        self.strike(second, chance);
        until("the parcel is here", || {
            let shown = self.desk.output("claims", &["release", "show", &release]);
            // The request is carried out once a checkpoint covers its votes.
            let shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
            assert_ne!(shown["state"], "failed", "{shown}");
            (shown["state"] == "spooled").then_some(())
        });
    }

    fn show(&self, noun: &str, id: &str) -> Value {
        self.desk.run("operator", &[noun, "show", id])
    }

    /// Orders, holds and captures a place, and waits for none of it.
    fn ask(&self, place: &Path, freeze: bool) -> (String, String) {
        let include = format!("path:{STORE}:{}", place.display());
        let order = [
            "order",
            "add",
            "--kind",
            "court-order",
            "--authority",
            "A",
            "--reference",
            "R",
            "--received",
            "now",
            "--include",
            &include,
            if freeze { "--freeze" } else { "--preserve" },
        ];
        let order = id(&self.desk.run("intake", &order));
        let words = ["hold", "place", "--order", &order];
        let hold = id(&self.desk.run("operator", &words));
        let words = ["snapshot", "take", "--hold", &hold];
        let taken = self.desk.run("operator", &words);
        (hold, id(&taken["snapshots"][0]))
    }

    /// Claims a place and has its release approved; gives the release.
    fn release(&self, place: &Path) -> String {
        let owner = age::x25519::Identity::generate().to_public().to_string();
        let item = format!("path:{STORE}:{}", place.display());
        let words = [
            "claim",
            "file",
            "--recipient",
            &owner,
            "--item",
            &item,
            "--sworn",
            "--wait",
        ];
        let claim = id(&self.desk.run("claims", &words));
        let asked = self.desk.run("claims", &["request", "release", &claim]);
        let request = &asked["requests"][0];
        for approver in ["a1", "a2"] {
            self.desk.run(approver, &["approve", &id(request)]);
        }
        request["release"].as_str().unwrap().to_owned()
    }

    /// Kills somebody at a moment and starts again what was killed.
    fn strike(&mut self, moment: Moment, chance: &mut Chance) {
        self.kills += 1;
        if let Moment::Receiving = moment {
            self.met += u64::from(is_written(&self.desk.at("server/spool")));
            self.desk.kill();
            self.truth.look(&self.desk);
            self.desk.start();
            // Else it would wait with growing patience for a coordinator that dies so often.
            self.desk.kill_agent(STORE);
        } else {
            match moment {
                Moment::Writing(folder) => {
                    let folder = self.desk.agent_data(STORE).join(folder);
                    self.met += u64::from(is_written(&folder));
                }
                Moment::Any(most) => std::thread::sleep(chance.up_to_micros(most)),
                Moment::Receiving => {}
            }
            self.desk.kill_agent(STORE);
        }
        self.desk.start_agent(STORE);
    }

    /// What is frozen cannot be changed while the agent is dead.
    fn holds_with_no_agent(&mut self, held: &[PathBuf]) {
        self.desk.kill_agent(STORE);
        self.kills += 1;
        for path in held.iter().step_by(7) {
            let before = fs::read(path).unwrap();
            let tries = [
                fs::File::options().write(true).open(path).map(drop),
                fs::remove_file(path),
                fs::rename(path, path.with_extension("gone")),
                fs::write(path.with_extension("new"), "put beside it"),
            ];
            for tried in tries {
                let error = tried.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            }
            assert_eq!(fs::read(path).unwrap(), before);
        }
        self.desk.start_agent(STORE);
    }

    /// Each thing ended once, and the agent's chain has no gap.
    fn end(mut self, cases: u64) {
        self.runtime.block_on(self.truth.catch_up());
        self.truth.each_once(&[]);
        let mut ends: BTreeMap<(&str, String), u32> = BTreeMap::new();
        let mut head = ChainHead::start(0);
        for entry in self.truth.entries() {
            let statement = entry.statement().unwrap();
            if let Some((kind, id)) = ended(&statement) {
                *ends.entry((kind, id)).or_default() += 1;
            }
            let (Author::Agent(_), Some(link)) = (statement.author, &statement.link) else {
                continue;
            };
            chain::follow(&head, link, &entry.digest()).unwrap();
            head = chain::next(link, Digest::of(entry.bytes()));
        }
        let twice: Vec<_> = ends.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "not once: {twice:?}");
        for kind in [
            "hold.verified",
            "snapshot.sealed",
            "snapshot.received",
            "release.packed",
            "release.spooled",
        ] {
            let of_kind = ends.keys().filter(|(found, _)| *found == kind).count();
            assert_eq!(of_kind as u64, cases, "{kind}");
        }
        let ended = self.desk.stop_agent(STORE);
        assert!(ended.success(), "{ended}: {}", self.desk.log(STORE));
        assert!(self.desk.stop().success());
        self.truth.holds_to_the_end(&self.desk);
        eprintln!(
            "{cases} cases, {} kills, {} of them in the middle of a file: {}",
            self.kills,
            self.met,
            self.truth.summary()
        );
    }
}

/// What may be said only once of each thing; a report of trouble or a finding not at all.
fn ended(statement: &Statement) -> Option<(&'static str, String)> {
    let id = match &statement.body {
        Body::HoldVerified(said) => said.target.to_string(),
        Body::SnapshotSealed(said) => said.snapshot.to_string(),
        Body::SnapshotReceived(said) => said.snapshot.to_string(),
        Body::ReleasePacked(said) => said.release.to_string(),
        Body::ReleaseSpooled(said) => said.release.to_string(),
        Body::HoldUnproved(_)
        | Body::HoldFailed(_)
        | Body::SnapshotFailed(_)
        | Body::ReleaseFailed(_)
        | Body::Finding(_) => panic!("a kill is no trouble: {statement:?}"),
        _ => return None,
    };
    Some((statement.body.kind(), id))
}

/// Waits until a file of a folder is being written; `false` where it was missed.
fn is_written(folder: &Path) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        let files = fs::read_dir(folder).unwrap();
        let part = |file: io::Result<fs::DirEntry>| {
            file.is_ok_and(|file| file.path().extension().is_some_and(|end| end == "part"))
        };
        if files.into_iter().any(part) {
            return true;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    false
}

/// Files of a customer, in folders.
fn plant(place: &Path, chance: &mut Chance) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for number in 0..40 {
        let path = place.join(format!("{}/file-{number}", number % 5));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let length = usize::try_from(chance.below(200_000)).unwrap();
        fs::write(&path, chance.bytes(length)).unwrap();
        files.push(path);
    }
    files
}
