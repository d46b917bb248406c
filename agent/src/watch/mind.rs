//! The mind of the watch: takes what is heard, has looks made, and has what they find said.
//!
//! What looks runs on threads of its own, one for each root and for each target that something
//! was heard of; one that hangs is left to itself, is said to hang, and keeps nobody waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use custody::id::TargetId;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    WatchState,
    clocks::Clock,
    ear::{self, Heard, Shared},
    held::{All, Held},
    looks::{AllFound, Marks, again, at_mounts, at_root, closely, may, name, say, set_marks},
    marks::Marked,
    rounds::Rounds,
};
use crate::{
    edge::now,
    work::{Context, finding::say_own},
};

/// How often everything is glanced at.
const GLANCE: Duration = Duration::from_secs(3);
/// How long a root may take to answer before it is said that it does not.
const SLOW: Duration = Duration::from_secs(30);
/// Marks of targets that went are taken away at most so often.
const FRESH: Duration = Duration::from_secs(10);
/// How often the last glance is written down.
const NOTE: Duration = Duration::from_secs(60);

/// Mounts are looked at, and what is held is taken in anew, at most so often.
const MOMENT: Duration = Duration::from_millis(500);
const MOUNTS: usize = 0;
const HELD: usize = 1;

/// What comes back from those who look.
enum Back {
    /// A root was glanced at: what is not as it was there.
    Root(PathBuf, AllFound),
    /// A target was looked at.
    Target(TargetId),
    /// The mounts were looked at: what can be reached again.
    Mounts(Vec<TargetId>),
    /// Something was said.
    Said,
    /// Marks were set: what that came to, of each target.
    Marked(Marks),
}

struct Mind {
    context: Arc<Context>,
    ear: Option<Arc<Shared>>,
    all: Arc<All>,
    rounds: Rounds,
    back: mpsc::UnboundedSender<Back>,
    /// Roots that are being glanced at, since when, and whether it was said that they are slow.
    roots: BTreeMap<PathBuf, (Instant, bool)>,
    /// Targets that are being looked at.
    targets: BTreeSet<TargetId>,
    /// Whether the mounts are being looked at.
    mounts: bool,
    /// When the mounts are to be looked at, and what is held taken in anew.
    due: [Option<Instant>; 2],
    /// When that was done last.
    done: [Option<Instant>; 2],
    /// What marks there are: by target, of which raising, and what that came to.
    marked: Marks,
    marking: bool,
    cleared: Instant,
    clock: Clock,
    told: Option<(Instant, WatchState)>,
}

/// Watches until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let (back, mut returned) = mpsc::unbounded_channel();
    let (ear, mut heard) = match ear::listen() {
        Ok((shared, heard)) => (Some(shared), heard),
        Err(error) => {
            tracing::error!(%error, "the kernel cannot be listened to; every few seconds it is looked instead");
            (None, mpsc::channel(1).1)
        }
    };
    let mut mind = Mind {
        clock: Clock::open(&context.place.holds()),
        context,
        ear,
        all: Arc::default(),
        rounds: Rounds::default(),
        back,
        roots: BTreeMap::new(),
        targets: BTreeSet::new(),
        mounts: false,
        due: [None; 2],
        done: [None; 2],
        marked: BTreeMap::new(),
        marking: false,
        cleared: Instant::now(),
        told: None,
    };
    mind.refresh();
    let mut tick = tokio::time::interval(GLANCE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = mind.next();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let watch = Arc::clone(&mind.context);
        tokio::select! {
            () = stop.cancelled() => break,
            Some(heard) = heard.recv() => mind.hear(heard),
            Some(back) = returned.recv() => mind.take_back(back),
            () = watch.watch.changed.notified() => mind.plan(HELD),
            _ = tick.tick() => mind.tick(),
            () = wait => mind.go_on(),
        }
    }
    if let Some(ear) = &mind.ear {
        ear.stop();
    }
    mind.clock.keep();
}

impl Mind {
    /// Has something done that may take long, and is told when it is done.
    fn send(&self, work: impl FnOnce() -> Back + Send + 'static) {
        let back = self.back.clone();
        tokio::task::spawn_blocking(move || {
            let _ = back.send(work());
        });
    }

    /// Plans to look at the mounts, or to take in what is held: now, or a moment after the last
    /// time, for both cost what they cost however many of them come.
    fn plan(&mut self, what: usize) {
        let after = |done: Instant| done + MOMENT;
        let due = self.done[what].map_or_else(Instant::now, after);
        self.due[what].get_or_insert(due);
    }

    /// When there is something to do.
    fn next(&self) -> Option<Instant> {
        let mounts = self.due[MOUNTS].filter(|_| !self.mounts);
        let all = [mounts, self.due[HELD], self.rounds.next()];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    fn go_on(&mut self) {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.due[HELD]) {
            self.due[HELD] = None;
            self.done[HELD] = Some(now);
            self.refresh();
        }
        if is_due(self.due[MOUNTS]) && !self.mounts {
            self.due[MOUNTS] = None;
            self.done[MOUNTS] = Some(now);
            self.look_at_mounts();
        }
        self.look();
    }

    /// Takes in what is held now.
    fn refresh(&mut self) {
        self.all = Arc::new(All::of(&self.context.keeper));
        self.plan(MOUNTS);
        self.mark();
    }

    fn hear(&mut self, heard: Heard) {
        let at = Instant::now();
        match heard {
            Heard::Mounts => self.plan(MOUNTS),
            Heard::Touched(things) => {
                for (path, thing) in things {
                    for held in self.all.around(&path) {
                        self.rounds.hear(held.target(), &path, thing.clone(), at);
                    }
                }
            }
        }
        let lost = |ear: &Arc<Shared>| ear.lost.swap(false, Ordering::Relaxed);
        if self.ear.as_ref().is_some_and(lost) {
            tracing::warn!(
                "more happened to what is held than could be told one by one; all of it is checked"
            );
            for held in self.all.iter() {
                self.rounds.hear_much(held.target(), at);
            }
        }
    }

    /// Has the looks made that are due.
    fn look(&mut self) {
        let (context, targets) = (&self.context, &self.targets);
        let free = |target| !targets.contains(&target) && may(context, target);
        for (target, round) in self.rounds.due(Instant::now(), free) {
            let Some(held) = self.all.get(target).cloned() else {
                continue;
            };
            self.targets.insert(target);
            let context = Arc::clone(&self.context);
            self.send(move || {
                closely(&context, &held, &round);
                Back::Target(target)
            });
        }
    }

    fn tick(&mut self) {
        self.look_at_clock();
        let all = Arc::clone(&self.all);
        for (path, held) in &all.roots {
            if let Some((since, said)) = self.roots.get_mut(path) {
                if since.elapsed() > SLOW && !*said {
                    *said = true;
                    let targets = held.len();
                    tracing::error!(
                        targets,
                        "a root does not answer; what is held there cannot be looked at, and the others are"
                    );
                }
                continue;
            }
            self.roots.insert(path.clone(), (Instant::now(), false));
            let (context, held, path) = (Arc::clone(&self.context), held.clone(), path.clone());
            self.send(move || {
                let found = at_root(&context, held);
                Back::Root(path, found)
            });
        }
        self.mark();
        self.tell();
    }

    /// Has said what a glance found, with who did it where that was heard a moment before.
    fn say(&self, found: AllFound) {
        for (held, mut found) in found {
            let target = held.target();
            if self.targets.contains(&target)
                || !self.context.watch.patience(target, Instant::now())
            {
                // It is being looked at closely, or was said often enough.
                continue;
            }
            if let Some(round) = self.rounds.gathered(target) {
                name(&mut found, round);
            }
            let context = Arc::clone(&self.context);
            self.send(move || {
                say(&context, &held, &found);
                Back::Said
            });
        }
    }

    fn look_at_clock(&mut self) {
        let now = self.context.book.edge().moment();
        let Some(found) = now.ok().and_then(|now| self.clock.go_on(now)) else {
            return;
        };
        let context = Arc::clone(&self.context);
        self.send(move || {
            if let Err(error) = say_own(&context, &found) {
                tracing::error!(%error, "a finding cannot be said");
            }
            Back::Said
        });
    }

    fn look_at_mounts(&mut self) {
        self.mounts = true;
        let context = Arc::clone(&self.context);
        self.send(move || Back::Mounts(at_mounts(&context)));
    }

    /// Sets the marks that are missing, and takes away those of targets that went.
    fn mark(&mut self) {
        let Some(ear) = self
            .ear
            .clone()
            .filter(|ear| ear.marks.is_some() && !self.marking)
        else {
            return;
        };
        let went = self.marked.iter().any(|(target, ((_, left), _))| {
            let held = self.all.get(*target);
            held.is_none_or(|held| held.state().1 != *left)
        });
        let clear = went && self.cleared.elapsed() > FRESH;
        if clear {
            self.cleared = Instant::now();
            self.marked.clear();
        }
        let is_new = |held: &&Arc<Held>| {
            let marked = self.marked.get(&held.target());
            marked.is_none_or(|(state, _)| *state != held.state())
                && may(&self.context, held.target())
        };
        let new: Vec<_> = self.all.iter().filter(is_new).cloned().collect();
        if new.is_empty() && !clear {
            return;
        }
        self.marking = true;
        let context = Arc::clone(&self.context);
        self.send(move || Back::Marked(set_marks(&context, &ear, &new, clear)));
    }

    fn take_back(&mut self, back: Back) {
        match back {
            Back::Root(path, found) => {
                self.roots.remove(&path);
                self.say(found);
            }
            Back::Target(target) => _ = self.targets.remove(&target),
            Back::Said => {}
            Back::Marked(marked) => {
                self.marking = false;
                self.marked.extend(marked);
                self.tell();
            }
            Back::Mounts(cured) => {
                self.mounts = false;
                for target in cured {
                    self.targets.insert(target);
                    let context = Arc::clone(&self.context);
                    self.send(move || {
                        again(&context, target);
                        Back::Target(target)
                    });
                }
            }
        }
    }

    /// Says how the watch stands where `status` finds it.
    fn tell(&mut self) {
        let sum = |of: fn(&Marked) -> u64| self.marked.values().map(|(_, marked)| of(marked)).sum();
        let ear = self.ear.as_ref();
        let why = ear.and_then(|ear| {
            let why = ear.why.lock().unwrap_or_else(PoisonError::into_inner);
            why.clone()
        });
        let state = WatchState {
            fanotify: ear.is_some_and(|ear| ear.marks.is_some()),
            why,
            targets: self.all.len() as u64,
            folders: sum(|marked| marked.folders),
            folders_left: sum(|marked| marked.left),
            looked: Some(now()),
            events: ear.map_or(0, |ear| ear.events.load(Ordering::Relaxed)),
            unreachable: self.context.watch.amiss().len() as u64,
        };
        let same = |told: &WatchState| {
            let (looked, events) = (told.looked, told.events);
            let now = WatchState {
                looked,
                events,
                ..state.clone()
            };
            now == *told
        };
        let told = self.told.as_ref();
        if told.is_some_and(|(at, told)| at.elapsed() < NOTE && same(told)) {
            return;
        }
        self.context.live.watch(state.clone());
        self.told = Some((Instant::now(), state));
    }
}
