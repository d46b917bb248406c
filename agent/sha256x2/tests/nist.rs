//! Every response file of NIST's validation of SHA-256 (CAVP, byte-oriented), one stream alone and
//! two side by side. The files come with a package of test vectors that the set-up installs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::PathBuf, process::Command};

use sha256x2::{Engine, Hasher, update_both};

/// Says that the test could not run here. The runner counts these, and CI allows none.
fn skipped(why: &str) {
    use std::io::Write as _;
    let test = "nists_response_files_come_out";
    eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let file = fs::File::options().append(true).create(true).open(file);
        writeln!(file.unwrap(), "{test}: {why}").unwrap();
    }
}

fn folder() -> Option<PathBuf> {
    let python = std::env::var_os("HOLDFAST_PYTHON")?;
    let place = "import cryptography_vectors as v, os; print(os.path.dirname(v.__file__))";
    let said = Command::new(python).args(["-c", place]).output().ok()?;
    let path = String::from_utf8(said.stdout).ok()?;
    let folder = PathBuf::from(path.trim()).join("hashes/SHA2");
    folder.exists().then_some(folder)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The values of a name, in the order of the file.
fn values(text: &str, name: &str) -> Vec<String> {
    let begin = format!("{name} = ");
    let found = text.lines().filter_map(|line| line.strip_prefix(&begin));
    found.map(|value| value.trim().to_owned()).collect()
}

fn alone(engine: Engine, message: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(engine);
    hasher.update(message);
    hasher.finish().to_vec()
}

fn both(engine: Engine, one: &[u8], other: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut a, mut b) = (Hasher::new(engine), Hasher::new(engine));
    let same = one.len().min(other.len());
    update_both((&mut a, &one[..same]), (&mut b, &other[..same]));
    a.update(&one[same..]);
    b.update(&other[same..]);
    (a.finish().to_vec(), b.finish().to_vec())
}

#[test]
fn nists_response_files_come_out() {
    let Some(folder) = folder() else {
        return skipped("needs HOLDFAST_PYTHON with cryptography_vectors");
    };
    let mut known: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for name in ["SHA256ShortMsg.rsp", "SHA256LongMsg.rsp"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let (bits, messages) = (values(&text, "Len"), values(&text, "Msg"));
        let digests = values(&text, "MD");
        assert!(bits.len() > 60 && bits.len() == messages.len() && bits.len() == digests.len());
        for ((bits, message), digest) in bits.iter().zip(&messages).zip(&digests) {
            let mut message = unhex(message);
            message.truncate(bits.parse::<usize>().unwrap() / 8);
            known.push((message, unhex(digest)));
        }
    }
    for engine in [Engine::find(), Engine::portable()] {
        for (at, (message, digest)) in known.iter().enumerate() {
            assert_eq!(&alone(engine, message), digest);
            let (other, of_other) = &known[(at * 7 + 5) % known.len()];
            let (one, two) = both(engine, message, other);
            assert_eq!((&one, &two), (digest, of_other));
        }
    }
    let text = fs::read_to_string(folder.join("SHA256Monte.rsp")).unwrap();
    let mut seed = unhex(&values(&text, "Seed")[0]);
    let expected = values(&text, "MD");
    assert_eq!(expected.len(), 100);
    for digest in expected {
        let mut last = [seed.clone(), seed.clone(), seed.clone()];
        for _ in 0..1000 {
            let message = last.concat();
            let (next, beside) = both(Engine::find(), &message, &message);
            assert_eq!(next, beside);
            last.rotate_left(1);
            last[2] = next;
        }
        seed.clone_from(&last[2]);
        assert_eq!(seed, unhex(&digest));
    }
}
