//! `order`: what was served, and what changed it since. No verb here frees anything.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use custody::{
    commit::Opening,
    digest::Digest,
    house::{
        order::{self, Copies, NewOrder},
        regime::{self, Holding},
        scope::Rule,
    },
    id::{AgentId, OrderId},
    statement::{Body, OrderExtend, OrderNarrow, OrderWithdraw},
};

use super::{agent_of, fleet, receipt};
use crate::{
    args::{
        Global,
        selector::Named,
        words::{When, Zone},
    },
    exit::{Outcome, Trouble},
    session::{Said, Session, commit, now, random},
    show::{
        Screen, ask,
        order::{OrderView, RegimeView},
    },
};

/// What can be done with orders.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Register an order as it was served.
    Add(Add),
    /// List the kinds of order, with their clocks.
    Kinds,
    /// List all orders.
    List,
    /// Show one order.
    Show {
        /// The id, or a beginning of it.
        order: String,
    },
    /// Register a renewal.
    Extend {
        /// The id, or a beginning of it.
        order: String,
        /// The renewal's reference.
        #[arg(long, value_name = "TEXT")]
        reference: String,
        /// When it was received.
        #[arg(long, default_value = "now", value_name = "TIME")]
        received: When,
        /// Accept a renewal beyond what the regime allows; it will be flagged.
        #[arg(long)]
        beyond_regime: bool,
    },
    /// Exclude items from here on.
    Narrow {
        /// The id, or a beginning of it.
        order: String,
        /// What leaves the scope; repeat it.
        #[arg(long, required = true, value_name = "SEL")]
        exclude: Vec<OsString>,
        /// When the change was received.
        #[arg(long, default_value = "now", value_name = "TIME")]
        received: When,
    },
    /// Register that who gave it took it back. Nothing is freed by that alone.
    Withdraw {
        /// The id, or a beginning of it.
        order: String,
        /// When the withdrawal was received.
        #[arg(long, default_value = "now", value_name = "TIME")]
        received: When,
    },
    /// Write the receipt that goes to who served it: entry, proof, checkpoint and a letter.
    Receipt {
        /// The id, or a beginning of it.
        order: String,
        /// The folder to write it to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Whether copies may leave.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CopiesWord {
    /// A copy may be released to its owner; the evidence stays.
    Permitted,
    /// Nothing under this order may be released.
    Forbidden,
}

/// An order as it was served.
#[derive(Debug, Args)]
pub struct Add {
    /// Which kind: `holdfast order kinds` lists them.
    #[arg(long, value_name = "REGIME")]
    kind: String,
    /// Who gave it. Stays out of the log.
    #[arg(long, value_name = "TEXT")]
    authority: String,
    /// The authority's reference. Stays out of the log.
    #[arg(long, value_name = "TEXT")]
    reference: String,
    /// When it was received: RFC 3339, or a date and time read in --zone, or now.
    #[arg(long, value_name = "TIME")]
    received: When,
    /// When it was issued; else when it was received.
    #[arg(long, value_name = "TIME")]
    issued: Option<When>,
    /// The end it names itself; else its kind's clock decides.
    #[arg(long, value_name = "TIME")]
    ends: Option<When>,
    /// The zone of receipt, such as +02:00; else the one that --received names, else UTC.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    zone: Option<Zone>,
    /// The document as served; its SHA-256 is committed to, the file stays here.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Nothing may change any more, where it lies; else the kind decides.
    #[arg(long, conflicts_with = "preserve")]
    freeze: bool,
    /// Keep what exists now, the living files go on; else the kind decides.
    #[arg(long)]
    preserve: bool,
    /// Whether copies may be released to owners while it stands.
    #[arg(long, value_enum, default_value = "permitted")]
    copies: CopiesWord,
    /// It says that life or limb is at stake.
    #[arg(long)]
    emergency: bool,
    /// What it names: server:AGENT, path:AGENT:/path, path:/path, account:NAME,
    /// account:AGENT:NAME or hash:HEX; repeat it.
    #[arg(long, value_name = "SEL")]
    include: Vec<OsString>,
    /// What it leaves out, even where another item includes it; repeat it.
    #[arg(long, value_name = "SEL")]
    exclude: Vec<OsString>,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Add(args) => add(global, args).await,
        Verb::Kinds => {
            kinds(global);
            Ok(())
        }
        Verb::List => {
            let records = Session::open(global).await?.list("orders").await?;
            let views: Vec<_> = records
                .iter()
                .map(OrderView::read)
                .collect::<Outcome<_>>()?;
            screen.list(&views);
            Ok(())
        }
        Verb::Show { order } => {
            let record = Session::open(global).await?.find("orders", &order).await?;
            screen.one(&OrderView::read(&record)?);
            Ok(())
        }
        Verb::Extend {
            order,
            reference,
            received,
            beyond_regime,
        } => {
            let received = moment(received, None)?;
            let (mut session, order) = open(global, &order).await?;
            let mut openings = Vec::new();
            let reference = commit(&mut openings, "reference", reference)?;
            let body = OrderExtend {
                order,
                received,
                reference,
                beyond_regime,
            };
            let said = session.say(Body::OrderExtend(body), openings).await?;
            changed(&mut session, order, said).await
        }
        Verb::Narrow {
            order,
            exclude,
            received,
        } => {
            let received = moment(received, None)?;
            let exclude = Named::read_all(&exclude)?;
            let (mut session, order) = open(global, &order).await?;
            let fleet = fleet(&mut session).await?;
            let agents = |typed: &str| agent_of(&fleet, typed);
            let mut openings = Vec::new();
            let exclude = exclude
                .iter()
                .map(|named| named.scope_item(Rule::Exclude, &agents, &mut openings))
                .collect::<Outcome<_>>()?;
            let body = OrderNarrow {
                order,
                received,
                exclude,
            };
            let said = session.say(Body::OrderNarrow(body), openings).await?;
            changed(&mut session, order, said).await
        }
        Verb::Withdraw { order, received } => {
            let received = moment(received, None)?;
            let (mut session, order) = open(global, &order).await?;
            let question =
                format!("Register that {order} was withdrawn? It backs no new hold then.");
            ask::confirm(global, &question)?;
            let body = OrderWithdraw { order, received };
            let said = session.say(Body::OrderWithdraw(body), vec![]).await?;
            screen.note("Nothing was freed: what the order holds waits for a lift.");
            changed(&mut session, order, said).await
        }
        Verb::Receipt { order, out } => {
            let mut session = Session::open(global).await?;
            receipt::write(&mut session, &order, &out).await
        }
    }
}

/// Lists the kinds of order; needs no coordinator.
pub fn kinds(global: &Global) {
    let views: Vec<_> = regime::all().iter().map(RegimeView).collect();
    Screen::new(global).list(&views);
}

async fn open(global: &Global, typed: &str) -> Outcome<(Session, OrderId)> {
    let mut session = Session::open(global).await?;
    let id = session.find("orders", typed).await?.id()?;
    Ok((session, id))
}

async fn changed(session: &mut Session, order: OrderId, said: Said) -> Outcome {
    let record = session.find("orders", &order.to_string()).await?;
    Screen::new(&session.global).changed(&OrderView::read(&record)?, &[said]);
    Ok(())
}

fn moment(when: When, zone: Option<Zone>) -> Outcome<custody::time::Time> {
    when.in_zone(zone.unwrap_or(Zone(0)), now())
        .map_err(|why| Trouble::usage(format!("{why}.")))
}

async fn add(global: &Global, args: Add) -> Outcome {
    let include = Named::read_all(&args.include)?;
    let exclude = Named::read_all(&args.exclude)?;
    let document = match &args.document {
        Some(path) => Some(digest_of(path)?),
        None => None,
    };
    // The law is asked here first, before anyone else is: servers are known by the
    // coordinator alone, so for this question any will do.
    let anyone = |_: &str| Ok(AgentId::from_random([0; 16]));
    let id = OrderId::from_random(random()?);
    let (draft, _) = draft(id, &args, &include, &exclude, document, &anyone)?;
    order::check(&draft, now())?;

    let mut session = Session::open(global).await?;
    let fleet = fleet(&mut session).await?;
    let agents = |typed: &str| agent_of(&fleet, typed);
    let (new, openings) = self::draft(id, &args, &include, &exclude, document, &agents)?;
    let said = session.say(Body::OrderAdd(new), openings).await?;
    changed(&mut session, id, said).await
}

fn draft(
    id: OrderId,
    args: &Add,
    include: &[Named],
    exclude: &[Named],
    document: Option<Digest>,
    agents: &impl Fn(&str) -> Outcome<AgentId>,
) -> Outcome<(NewOrder, Vec<Opening>)> {
    let regime = regime::find(&args.kind)?;
    let zone = args
        .zone
        .or_else(|| args.received.zone())
        .unwrap_or(Zone(0));
    let received = moment(args.received, Some(zone))?;
    let mut openings = Vec::new();
    let mut scope = Vec::new();
    for (rule, items) in [(Rule::Include, include), (Rule::Exclude, exclude)] {
        for named in items {
            scope.push(named.scope_item(rule, agents, &mut openings)?);
        }
    }
    let new = NewOrder {
        order: id,
        regime: regime.id.clone(),
        holding: match (args.freeze, args.preserve) {
            (true, _) => Holding::Freeze,
            (_, true) => Holding::Preserve,
            _ => regime.holding,
        },
        copies: match args.copies {
            CopiesWord::Permitted => Copies::Permitted,
            CopiesWord::Forbidden => Copies::Forbidden,
        },
        issued: args
            .issued
            .map_or(Ok(received), |when| moment(when, Some(zone)))?,
        received,
        zone_minutes: zone.0,
        ends: args.ends.map(|when| moment(when, Some(zone))).transpose()?,
        emergency: args.emergency,
        authority: commit(&mut openings, "authority", args.authority.as_str())?,
        reference: commit(&mut openings, "reference", args.reference.as_str())?,
        document: document
            .map(|digest| commit(&mut openings, "document", digest.to_string()))
            .transpose()?,
        scope,
    };
    Ok((new, openings))
}

fn digest_of(path: &std::path::Path) -> Outcome<Digest> {
    use sha2::Digest as _;
    let read = || -> std::io::Result<_> {
        let mut hasher = sha2::Sha256::new();
        std::io::copy(&mut std::fs::File::open(path)?, &mut Hashing(&mut hasher))?;
        Ok(hasher.finalize())
    };
    let hash = read().map_err(|error| Trouble::file("read", path, &error))?;
    Ok(Digest::from_bytes(hash.into()))
}

/// Hashes what is written to it.
pub(crate) struct Hashing<'a>(pub(crate) &'a mut sha2::Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
