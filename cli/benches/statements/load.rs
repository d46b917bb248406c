//! The load: writers that each submit signed orders, one after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cli::{connect::Services, session::commit, session::now, session::random};
use custody::{
    house::{
        order::{Copies, NewOrder},
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::{ItemId, OrderId, PersonId},
    sign::SecretKey,
    statement::{Body, Seen},
};
use proto::v1;
use tokio::time::{Instant, sleep_until};

use super::house::{Connecting, Person, cpu_of, is_of, said};

/// How fast the writers write.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each as soon as its last statement is acknowledged.
    Most,
    /// So many a second altogether, each at its own moment, whether or not the last one was
    /// late: a statement's latency counts from the moment it was due.
    Rate(f64),
}

/// One run.
pub struct Load {
    pub warm_up: Duration,
    pub seconds: Duration,
    pub pace: Pace,
    /// Whether statements are written and signed while the clock runs.
    pub signing: bool,
}

/// What came of it.
pub struct Outcome {
    /// Acknowledged within the time that counts.
    pub counted: u64,
    /// Acknowledged at all.
    pub all: u64,
    pub took: Duration,
    /// Sorted, in microseconds.
    pub latencies: Vec<u32>,
    /// The longest time from an acknowledgement to a public checkpoint that covers it.
    pub published: Duration,
    /// CPU seconds of the coordinator and of the load generator, over the whole run.
    pub cpu: (f64, f64),
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.counted as f64 / self.took.as_secs_f64()
    }

    pub fn with_server_cpu(mut self, seconds: f64) -> Self {
        self.cpu.0 = seconds;
        self
    }
}

/// Writes orders for one person.
struct Pen {
    key: SecretKey,
    person: PersonId,
    seen: Seen,
}

impl Pen {
    fn order(&self) -> v1::SubmitRequest {
        let random16 = || random::<16>().expect("random bytes");
        let mut openings = Vec::new();
        let mut commit = |field, value| commit(&mut openings, field, value).expect("random bytes");
        let received = now();
        let body = Body::OrderAdd(NewOrder {
            order: OrderId::from_random(random16()),
            regime: "us-2703f".to_owned(),
            holding: Holding::Preserve,
            copies: Copies::Permitted,
            issued: received,
            received,
            zone_minutes: 0,
            ends: None,
            emergency: false,
            authority: commit("authority", "District Court of Somewhere"),
            reference: commit("reference", "1:24-mj-00017"),
            document: None,
            scope: vec![ScopeItem {
                item: ItemId::from_random(random16()),
                rule: Rule::Include,
                selector: Selector::Account,
                agent: None,
                value: Some(commit("account", "customer-4711")),
            }],
        });
        said(&self.key, self.person, Some(self.seen), body, openings)
    }
}

/// When things begin and end, and what all writers count together.
struct Clock {
    begin: Instant,
    counts: Instant,
    end: Instant,
    /// One more than the largest index that was acknowledged.
    newest: AtomicU64,
}

#[derive(Default)]
struct Written {
    all: u64,
    latencies: Vec<u32>,
}

impl Load {
    /// Runs it.
    pub async fn run(&self, connecting: &Connecting<'_>) -> Outcome {
        let mut clients = connecting.clients().await;
        let newest = connecting.house.checkpoint(&mut clients[0].0).await;
        let seen = Seen {
            size: newest.size,
            root: newest.root,
        };
        let pens: Vec<_> = clients
            .iter()
            .map(|(_, person)| pen(person, seen))
            .collect();
        let ready = match self.signing {
            true => vec![Vec::new(); pens.len()],
            false => self.write_ahead(&pens),
        };
        let cpu = cpu_of("self");
        let begin = Instant::now();
        let clock = Arc::new(Clock {
            begin,
            counts: begin + self.warm_up,
            end: begin + self.warm_up + self.seconds,
            newest: AtomicU64::new(newest.size),
        });
        let mut tasks = Vec::new();
        let all = clients.iter().zip(pens).zip(ready).enumerate();
        for (at, (((services, _), pen), ready)) in all {
            let due = match self.pace {
                Pace::Most => None,
                Pace::Rate(rate) => Some(Due {
                    first: begin + Duration::from_secs_f64(at as f64 / rate),
                    every: Duration::from_secs_f64(clients.len() as f64 / rate),
                }),
            };
            let signed = (!self.signing).then_some(ready);
            let work = write(services.clone(), pen, signed, due, Arc::clone(&clock));
            tasks.push(tokio::spawn(work));
        }
        let published = watch(connecting, &mut clients[0].0, &clock).await;
        let mut written = Written::default();
        for task in tasks {
            let one = task.await.expect("a writer");
            written.all += one.all;
            written.latencies.extend(one.latencies);
        }
        written.latencies.sort_unstable();
        Outcome {
            counted: written.latencies.len() as u64,
            all: written.all,
            took: self.seconds,
            latencies: written.latencies,
            published,
            cpu: (0.0, cpu_of("self") - cpu),
        }
    }

    /// Writes and signs before the clock runs, as many as any machine could take.
    fn write_ahead(&self, pens: &[Pen]) -> Vec<Vec<v1::SubmitRequest>> {
        let seconds = (self.warm_up + self.seconds).as_secs_f64();
        let each = (20_000.0 * seconds / pens.len() as f64) as usize;
        pens.iter()
            .map(|pen| (0..each).map(|_| pen.order()).collect())
            .collect()
    }
}

fn pen(person: &Person, seen: Seen) -> Pen {
    Pen {
        key: SecretKey::from_seed(&person.key.seed()),
        person: person.id,
        seen,
    }
}

struct Due {
    first: Instant,
    every: Duration,
}

async fn write(
    mut services: Services,
    pen: Pen,
    mut signed: Option<Vec<v1::SubmitRequest>>,
    due: Option<Due>,
    clock: Arc<Clock>,
) -> Written {
    let mut written = Written::default();
    let mut next = due.as_ref().map_or(clock.begin, |due| due.first);
    loop {
        if let Some(due) = &due {
            sleep_until(next).await;
            next += due.every;
        }
        if Instant::now() >= clock.end {
            return written;
        }
        let request = match &mut signed {
            None => pen.order(),
            Some(ready) => ready.pop().expect("enough was written ahead"),
        };
        let entry = request.entry.clone();
        let begun = match &due {
            Some(due) => next - due.every,
            None => Instant::now(),
        };
        let answer = services.desk.submit(request).await;
        let answer = answer.expect("the order is taken").into_inner();
        let done = Instant::now();
        assert!(is_of(&answer, &entry), "another entry was recorded");
        clock.newest.fetch_max(answer.index + 1, Ordering::Relaxed);
        written.all += 1;
        if (clock.counts..clock.end).contains(&done) {
            let micros = u32::try_from((done - begun).as_micros());
            written.latencies.push(micros.unwrap_or(u32::MAX));
        }
    }
}

/// Looks, four times a second, how long it takes until what is acknowledged now is public.
async fn watch(connecting: &Connecting<'_>, services: &mut Services, clock: &Clock) -> Duration {
    let mut longest = Duration::ZERO;
    sleep_until(clock.counts).await;
    while Instant::now() < clock.end {
        let (size, begun) = (clock.newest.load(Ordering::Relaxed), Instant::now());
        while connecting.house.checkpoint(services).await.size < size {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    longest
}
