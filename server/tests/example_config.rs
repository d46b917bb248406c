//! The annotated example that is shipped: it must say what the program does.
#![allow(clippy::unwrap_used, missing_docs)]

use server::config::Config;

const EXAMPLE: &str = include_str!("../../deploy/examples/config.toml");

#[test]
fn the_example_names_every_key_with_its_default_and_no_other() {
    let example: Config = toml::from_str(EXAMPLE).unwrap();
    example.check().unwrap();
    let written = |config: &Config| toml::Value::try_from(config).unwrap();
    let defaults = Config::new(example.origin.clone());
    assert_eq!(written(&example), written(&defaults));
    // Read as plain TOML it has the same keys: none is left to its default unsaid.
    let plain: toml::Value = toml::from_str(EXAMPLE).unwrap();
    assert_eq!(plain, written(&defaults));
}
