//! The annotated example that is shipped: the program must read it, and it must name every key.
#![allow(clippy::unwrap_used, missing_docs)]

use agent::config::Config;

const EXAMPLE: &str = include_str!("../../deploy/examples/agent.toml");

#[test]
fn the_example_is_read_and_names_every_key() {
    let example: Config = toml::from_str(EXAMPLE).unwrap();
    example.check().unwrap();
    let root = &example.roots[0];
    assert_eq!(
        root.root().vault,
        root.path.join(".holdfast-vault"),
        "the vault that is shown is the default one"
    );
    let mut defaults = Config::with_roots(example.roots.clone());
    defaults.stores.clone_from(&example.stores);
    assert_eq!(example, defaults);
    // Read as plain TOML it has the same keys: none is left to its default unsaid.
    let plain: toml::Value = toml::from_str(EXAMPLE).unwrap();
    assert_eq!(plain, toml::Value::try_from(&defaults).unwrap());
}
