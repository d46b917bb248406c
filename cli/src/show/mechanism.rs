//! Mechanisms beside each other: what each prevents, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use custody::house::mechanism::{Mechanism, Properties};

use super::Screen;

/// The mechanisms with what each does, by their names: for JSON.
pub fn table(mechanisms: &BTreeSet<Mechanism>) -> BTreeMap<&'static str, Properties> {
    let named = mechanisms.iter().map(|one| (one.word(), one.properties()));
    named.collect()
}

/// Prints what each of them does, one column each.
pub fn properties(screen: &Screen, mechanisms: &BTreeSet<Mechanism>) {
    if mechanisms.is_empty() {
        return;
    }
    let mut head = vec!["of itself"];
    head.extend(mechanisms.iter().map(|mechanism| mechanism.word()));
    type Cell = fn(&Properties) -> &'static str;
    let rows: [(&str, Cell); 9] = [
        ("prevents change", |p| p.prevents_change.word()),
        ("prevents deletion", |p| p.prevents_deletion.word()),
        ("survives a reboot", |p| p.survives_reboot.word()),
        ("survives root", |p| p.survives_root.word()),
        ("detects force", |p| p.detects_force.word()),
        ("is of one moment", |p| p.one_moment.word()),
        ("lets the files live on", |p| p.lives_on.word()),
        ("space", |p| p.space),
        ("time", |p| p.time),
    ];
    let rows = rows.map(|(name, cell)| {
        let cells = mechanisms.iter().map(|one| cell(&one.properties()));
        std::iter::once(name)
            .chain(cells)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    screen.raw("\n");
    screen.table(&head, &rows);
    screen.raw("(found: not prevented, but noticed and recorded)\n");
}
