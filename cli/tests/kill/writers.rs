//! Writers that hand in signed statements all at once, and hand in the same bytes again when
//! they were not answered.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cli::{
    connect::Services,
    session::{is_away, random},
};
use custody::{
    digest::Digest,
    house::{regime::Holding, scope::Selector},
    id::{ClaimId, CommandId, ItemId, PersonId, SubjectId},
    ledger::{entry::Entry, tile::Tile},
    statement::{Body, ClaimFile, ClaimItem, ClaimWithdraw, ListImport},
};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

use crate::{
    chance::Chance,
    common::{
        Desk, PATIENCE,
        wire::{At, Hand, Letter, Openings, order, submit},
    },
    truth::Truth,
};

/// When the coordinator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// After so many acknowledgements, in the middle of the next.
    UnderLoad,
    /// While the log's files are ahead of the checkpoint that is public.
    Publishing,
    /// Before it has come up.
    StartingUp,
}

impl How {
    pub const fn drawn(chance: &mut Chance) -> Self {
        match chance.below(10) {
            0..=1 => Self::StartingUp,
            2..=4 => Self::Publishing,
            _ => Self::UnderLoad,
        }
    }
}

/// Who writes, and in which role.
const PEOPLE: [(&str, Says); 4] = [
    ("intake", Says::Orders),
    ("legal", Says::Lists),
    ("claims-1", Says::Claims),
    ("claims-2", Says::Claims),
];
/// How many statements of one person may be on their way at once.
const LANES: usize = 3;

/// Acknowledgements: index, entry.
type Acknowledged = Vec<(u64, Entry)>;

pub struct Writers {
    lanes: Vec<Lane>,
    said: Vec<CommandId>,
    log: PathBuf,
    /// What the kills met.
    pub met: Met,
}

/// What the kills met: a campaign that meets too little proves nothing.
#[derive(Debug, Default)]
pub struct Met {
    /// Statements that were on their way.
    pub unanswered: u64,
    /// Of those, what was durable all the same, and known when it came again.
    pub durable: u64,
    /// Kills while the log's files were ahead of the public checkpoint.
    pub ahead: u64,
}

#[derive(Clone, Copy)]
enum Says {
    Orders,
    Lists,
    Claims,
}

struct Lane {
    hand: Arc<Hand>,
    says: Says,
    chance: Chance,
    /// Sealed and not acknowledged: sent again until it is.
    unanswered: Option<Letter>,
    /// Claims that stand.
    filed: Vec<ClaimId>,
    said: Vec<CommandId>,
    /// Retries of what was durable already.
    durable: u64,
}

impl Writers {
    pub fn new(desk: &Desk, chance: &mut Chance) -> Self {
        let mut lanes = Vec::new();
        for (name, says) in PEOPLE {
            desk.add(name, name.split('-').next().unwrap());
            let hand = Arc::new(Hand::of(desk, name));
            lanes.extend((0..LANES).map(|_| Lane {
                hand: Arc::clone(&hand),
                says,
                chance: Chance::new(chance.draw()),
                unanswered: None,
                filed: Vec::new(),
                said: Vec::new(),
                durable: 0,
            }));
        }
        Self {
            lanes,
            said: Vec::new(),
            log: desk.at("server/log"),
            met: Met::default(),
        }
    }

    /// Every statement that was ever sealed.
    pub fn said(&self) -> &[CommandId] {
        &self.said
    }

    /// Lets all lanes write until the coordinator is killed, in the way that was drawn.
    pub async fn work(
        &mut self,
        how: How,
        chance: &mut Chance,
        truth: &mut Truth,
        kill: impl FnOnce(),
    ) {
        let answered = Arc::new(AtomicU64::new(0));
        let wish = 1 + chance.below(6);
        let mut working = Vec::new();
        for person in self.connected() {
            for lane in self.lanes.extract_if(.., |lane| lane.hand.id == person.0) {
                let work = lane.work(person.1.clone(), wish, Arc::clone(&answered));
                working.push(tokio::spawn(work));
            }
        }
        let most = wish * working.len() as u64;
        let enough = chance.below(most + 1);
        let over = || working.iter().all(tokio::task::JoinHandle::is_finished);
        let begun = Instant::now();
        while answered.load(Ordering::Relaxed) < enough && !over() {
            assert!(begun.elapsed() < PATIENCE, "nothing is answered any more");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        match how {
            How::Publishing => {
                let begun = Instant::now();
                while !is_ahead(&self.log) && begun.elapsed() < Duration::from_millis(150) {
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
            }
            _ => tokio::time::sleep(chance.up_to_micros(4_000)).await,
        }
        kill();
        self.met.ahead += u64::from(is_ahead(&self.log));
        for lane in working {
            let (lane, acknowledged) = lane.await.unwrap();
            self.met.unanswered += u64::from(lane.unanswered.is_some());
            self.take_back(lane, acknowledged, truth);
        }
    }

    /// Hands in what was never answered, until all of it is.
    pub async fn finish(&mut self, truth: &mut Truth) {
        for lane in std::mem::take(&mut self.lanes) {
            let connected = connection(Arc::clone(&lane.hand));
            let (lane, acknowledged) = lane.work(connected, 0, Arc::default()).await;
            assert!(lane.unanswered.is_none());
            self.take_back(lane, acknowledged, truth);
        }
    }

    /// One connection a person, opened while the lanes start.
    fn connected(&self) -> Vec<(PersonId, Connected)> {
        let mut people: Vec<(PersonId, Connected)> = Vec::new();
        for lane in &self.lanes {
            if people.iter().all(|(id, _)| *id != lane.hand.id) {
                people.push((lane.hand.id, connection(Arc::clone(&lane.hand))));
            }
        }
        people
    }

    fn take_back(&mut self, mut lane: Lane, acknowledged: Acknowledged, truth: &mut Truth) {
        for (index, entry) in acknowledged {
            truth.acknowledged(index, &entry);
        }
        self.said.append(&mut lane.said);
        self.met.durable += std::mem::take(&mut lane.durable);
        self.lanes.push(lane);
    }
}

/// A connection that is under way; `None` where the coordinator died before it stood.
type Connected = Shared<BoxFuture<'static, Option<Services>>>;

fn connection(hand: Arc<Hand>) -> Connected {
    async move { hand.connect().await.ok() }.boxed().shared()
}

impl Lane {
    /// Says again what was not answered, then so many new things, each answered before the next.
    async fn work(
        mut self,
        connected: Connected,
        wish: u64,
        answered: Arc<AtomicU64>,
    ) -> (Self, Acknowledged) {
        let mut acknowledged = Vec::new();
        let Some(services) = connected.await else {
            return (self, acknowledged);
        };
        if let Some(letter) = self.unanswered.clone()
            && !self.send(&services, &letter, true, &mut acknowledged).await
        {
            return (self, acknowledged);
        }
        for _ in 0..wish {
            let letter = self.write();
            self.said.push(letter.id);
            self.unanswered = Some(letter.clone());
            if !self
                .send(&services, &letter, false, &mut acknowledged)
                .await
            {
                break;
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
        (self, acknowledged)
    }

    /// Whether it was acknowledged. Nothing but the coordinator's death may stand in the way.
    async fn send(
        &mut self,
        services: &Services,
        letter: &Letter,
        again: bool,
        acknowledged: &mut Acknowledged,
    ) -> bool {
        let answer = match submit(services, letter).await {
            Ok(answer) => answer,
            Err(status) => {
                assert!(is_away(&status), "{status:?}");
                return false;
            }
        };
        assert_eq!(
            answer.leaf_hash.as_ref(),
            letter.entry.leaf_hash().as_bytes()
        );
        assert!(again || !answer.duplicate, "a new statement was known");
        self.durable += u64::from(answer.duplicate);
        acknowledged.push((answer.index, letter.entry.clone()));
        self.unanswered = None;
        if let Body::ClaimFile(claim) = letter.entry.statement().unwrap().body {
            self.filed.push(claim.claim);
        }
        true
    }

    fn write(&mut self) -> Letter {
        let mut openings = Openings::default();
        let account = format!("account-{}", self.chance.below(1000));
        let body = match self.says {
            Says::Orders => {
                let at = At::Account(&account);
                Body::OrderAdd(order(&mut openings, "us-2703f", Holding::Preserve, at))
            }
            Says::Lists => Body::ListImport(ListImport {
                list: account,
                basis: "none".to_owned(),
                hashes: vec![Digest::from_bytes(random().unwrap())],
            }),
            Says::Claims if self.chance.below(4) > 0 && !self.filed.is_empty() => {
                let which = self.chance.below(self.filed.len() as u64);
                let claim = self.filed[usize::try_from(which).unwrap()];
                Body::ClaimWithdraw(ClaimWithdraw { claim })
            }
            Says::Claims => Body::ClaimFile(ClaimFile {
                claim: ClaimId::from_random(random().unwrap()),
                subject: SubjectId::from_random(random().unwrap()),
                recipient: openings.commit("recipient", "age1"),
                items: vec![ClaimItem {
                    item: ItemId::from_random(random().unwrap()),
                    selector: Selector::Account,
                    agent: None,
                    value: openings.commit("account", account.as_str()),
                }],
                sworn: true,
            }),
        };
        self.hand.seal(body, openings)
    }
}

/// Whether the log's files go further than the checkpoint that is public.
fn is_ahead(log: &Path) -> bool {
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap_or_default();
    let Some(size) = note
        .lines()
        .nth(1)
        .and_then(|line| line.parse::<u64>().ok())
    else {
        return false;
    };
    let bundle = |index, width| {
        let tile = Tile {
            level: 0,
            index,
            width,
        };
        log.join(tile.bundle_path())
    };
    if bundle(size / 256, 256).exists() {
        return true;
    }
    let partial = bundle(size / 256, 1);
    let names = std::fs::read_dir(partial.parent().unwrap()).into_iter();
    let widths = names.flatten().filter_map(|file| {
        let name = file.ok()?.file_name();
        name.to_str()?.parse::<u64>().ok()
    });
    widths.max().is_some_and(|width| width > size % 256)
}
