//! Orders and regimes.

use custody::house::{
    clock::{Duration, Ends, Unit},
    order::Order,
    regime::{Holding, Regime},
    scope::{Rule, ScopeItem, Selector},
};
use serde::Serialize;

use super::{Screen, View, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// One item of a scope.
#[derive(Clone, Debug, Serialize)]
pub struct ItemView {
    /// Its id.
    pub item: String,
    /// `include` or `exclude`.
    pub rule: Rule,
    /// `server`, `path`, `account` or `hash`.
    pub selector: Selector,
    /// The server's id; absent: any.
    pub agent: Option<String>,
    /// The path, account or hash; absent when the reader's roles do not show it.
    pub value: Option<String>,
}

impl ItemView {
    /// Reads one item of a record.
    pub fn read(record: &Record, item: &ScopeItem) -> Self {
        Self {
            item: item.item.to_string(),
            rule: item.rule,
            selector: item.selector,
            agent: item.agent.as_ref().map(ToString::to_string),
            value: item.value.as_ref().and_then(|value| record.text(value)),
        }
    }

    fn line(&self, screen: &Screen) -> String {
        let agent = self.agent.as_ref().map(|agent| screen.id(agent));
        let value = match self.selector {
            Selector::Server => None,
            _ => Some(
                self.value
                    .clone()
                    .unwrap_or_else(|| "(not shown)".to_owned()),
            ),
        };
        let parts: Vec<_> = agent.into_iter().chain(value).collect();
        format!(
            "{} {}:{}",
            self.rule.word(),
            self.selector.word(),
            parts.join(":")
        )
    }
}

/// An order.
#[derive(Clone, Debug, Serialize)]
pub struct OrderView {
    /// The id.
    pub id: String,
    /// The regime's word.
    pub regime: String,
    /// `active`, `expired` or `withdrawn`.
    pub status: String,
    /// `freeze` or `preserve`.
    pub holding: Holding,
    /// `permitted` or `forbidden`.
    pub copies: String,
    /// When it was issued.
    pub issued: String,
    /// When it was received.
    pub received: String,
    /// Minutes east of UTC where it was received.
    pub zone_minutes: i32,
    /// The end it names itself.
    pub ends: Option<String>,
    /// When keeping ends, by the earlier and the later reading.
    pub keep_until: Option<Ends>,
    /// By when the provider must have acted, by both readings.
    pub act_until: Option<Ends>,
    /// Life or limb is at stake.
    pub emergency: bool,
    /// Who gave it; absent when not shown.
    pub authority: Option<String>,
    /// The authority's reference; absent when not shown.
    pub reference: Option<String>,
    /// SHA-256 of the document as served.
    pub document: Option<String>,
    /// What it names.
    pub scope: Vec<ItemView>,
    /// Its renewals.
    pub renewals: Vec<custody::house::order::Renewal>,
    /// The entry that added it.
    pub entry: u64,
}

impl OrderView {
    /// Reads a record.
    pub fn read(record: &Record) -> Outcome<Self> {
        let order: Order = record.parse()?;
        let served = &order.served;
        Ok(Self {
            id: served.order.to_string(),
            regime: served.regime.clone(),
            status: order.status.word(),
            holding: served.holding,
            copies: served.copies.word(),
            issued: served.issued.to_string(),
            received: served.received.to_string(),
            zone_minutes: served.zone_minutes,
            ends: served.ends.map(|end| end.to_string()),
            keep_until: order.keep_until,
            act_until: order.act_until,
            emergency: served.emergency,
            authority: record.text(&served.authority),
            reference: record.text(&served.reference),
            document: served.document.as_ref().and_then(|d| record.text(d)),
            scope: served
                .scope
                .iter()
                .map(|item| ItemView::read(record, item))
                .collect(),
            renewals: order.renewals,
            entry: order.entry,
        })
    }
}

fn latest(ends: Option<&Ends>) -> String {
    ends.map_or_else(
        || "until it says so".to_owned(),
        |ends| text::time(&ends.latest),
    )
}

fn both(ends: &Ends) -> String {
    let (earliest, latest) = (text::time(&ends.earliest), text::time(&ends.latest));
    if earliest == latest {
        latest
    } else {
        format!("{earliest} by the earlier reading, {latest} by the later")
    }
}

impl View for OrderView {
    const PLURAL: &'static str = "orders";
    const COLUMNS: &'static [&'static str] = &[
        "order",
        "regime",
        "status",
        "holding",
        "copies",
        "received",
        "keep until",
        "reference",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![
            screen.id(&self.id),
            self.regime.clone(),
            self.status.clone(),
            self.holding.word(),
            self.copies.clone(),
            self.received
                .parse()
                .map_or_else(|_| self.received.clone(), |t| text::time(&t)),
            latest(self.keep_until.as_ref()),
            text::or_dash(self.reference.as_deref()),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        lines.push(("authority", text::or_dash(self.authority.as_deref())));
        if let Some(ends) = &self.keep_until {
            lines.push(("keeping ends", both(ends)));
        }
        if let Some(ends) = &self.act_until {
            lines.push(("act by", both(ends)));
        }
        if let Some(document) = &self.document {
            lines.push(("document", document.clone()));
        }
        let scope: Vec<_> = self.scope.iter().map(|item| item.line(screen)).collect();
        lines.push(("scope", scope.join("\n")));
        for renewal in &self.renewals {
            let mut said = format!("received {}", text::time(&renewal.received));
            for (flag, word) in [
                (renewal.late, ", LATE"),
                (renewal.beyond_regime, ", BEYOND WHAT THE REGIME ALLOWS"),
            ] {
                if flag {
                    said.push_str(word);
                }
            }
            lines.push(("renewal", said));
        }
        if self.status != "active" {
            lines.push((
                "note",
                "Nothing is freed by that: what it holds awaits a lift.".to_owned(),
            ));
        }
        lines.push(("entry", self.entry.to_string()));
        lines
    }
}

/// A kind of order.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct RegimeView(pub &'static Regime);

fn length(duration: Option<&Duration>) -> String {
    match duration {
        None => "-".to_owned(),
        Some(d) => {
            let unit = match d.unit {
                Unit::Hour => "hour",
                Unit::Day => "day",
            };
            text::count(d.amount.into(), unit)
        }
    }
}

impl View for RegimeView {
    const PLURAL: &'static str = "kinds";
    const COLUMNS: &'static [&'static str] = &[
        "kind",
        "keep",
        "act within",
        "in an emergency",
        "renewals",
        "renewal",
        "holding",
        "title",
    ];

    fn row(&self, _: &Screen) -> Vec<String> {
        let regime = self.0;
        vec![
            regime.id.clone(),
            length(regime.keep.as_ref()),
            length(regime.act.as_ref()),
            length(regime.act_emergency.as_ref()),
            regime.renewals.to_string(),
            length(regime.renewal.as_ref()),
            regime.holding.word(),
            regime.title.clone(),
        ]
    }
}
