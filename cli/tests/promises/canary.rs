//! P7, P8, P9: names, paths, accounts and references come out nowhere; the coordinator sees no
//! content; a parcel shows one owner's files and nobody else's; what is erased is gone, and
//! every proof still verifies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use age::secrecy::ExposeSecret as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::digest::Digest;
use serde_json::Value;

use crate::{
    common::{Desk, done, is_root, tool, until},
    id,
};

/// What people are called, by the key that they log in with.
const PEOPLE: [(&str, &str, &str); 5] = [
    ("intake", "Zinnia Quillfeather", "intake"),
    ("legal", "Thaddeus Marrowby", "legal"),
    ("operator", "Oleander Frostwick", "operator,custodian"),
    ("claims", "Peregrine Dunmallow", "claims"),
    ("a1", "Wilhelmina Starkhorse", "approver"),
];
/// What else is personal, and where it is planted.
const SERVER: &str = "wolverine-storage";
const AUTHORITY: &str = "Court of Larkspurhaven";
const REFERENCE: &str = "Snapdragon-4711-b";
const DOCUMENT: &[u8] = b"the letter as it was served by Larkspurhaven";
const ROOT: &str = "wisteria-root";
const OWNER: &str = "heliotrope-account";
const FILE: &str = "periwinkle-diary.txt";
const CONTENT: &str = "marigold: what nobody else should read";
const STRANGER: &str = "belladonna-account";
const THEIRS: &str = "foxglove-ledger.txt";
const THEIR_CONTENT: &str = "hemlock: somebody else's secret";

/// Every form in which bytes could come out: as they are, in hex, in base64 at any offset.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![bytes.to_vec(), hex::encode(bytes).into_bytes()];
    for offset in 0..3 {
        let text = STANDARD.encode([&vec![0; offset][..], bytes].concat());
        // Without the ends, which depend on what stands beside it.
        let inner = text.trim_end_matches('=');
        forms.push(inner.as_bytes()[4..inner.len() - 2].to_vec());
    }
    forms
}

fn holds(bytes: &[u8], canary: &[u8]) -> bool {
    forms(canary).iter().any(|form| contains(bytes, form))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == part[0]) {
        if rest[at..].starts_with(part) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let below = fs::read_dir(place).unwrap();
    below
        .flat_map(|file| files(&file.unwrap().path()))
        .collect()
}

fn nowhere(place: &Path, canaries: &[&[u8]]) {
    let all = files(place);
    assert!(!all.is_empty(), "{}", place.display());
    for file in all {
        let bytes = fs::read(&file).unwrap();
        for canary in canaries {
            let text = String::from_utf8_lossy(canary);
            assert!(!holds(&bytes, canary), "{text} is in {}", file.display());
        }
    }
}

struct Case {
    desk: Desk,
    owner: age::x25519::Identity,
    claim: String,
    release: String,
}

/// A whole case, with everything personal planted where it belongs.
fn play() -> Case {
    let mut desk = Desk::new();
    for (name, called, roles) in PEOPLE {
        desk.add_called(name, called, roles);
    }
    desk.add("a2", "approver");
    for (account, file, content) in [(OWNER, FILE, CONTENT), (STRANGER, THEIRS, THEIR_CONTENT)] {
        let home = desk.at(ROOT).join(account);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(file), content).unwrap();
    }
    let config = format!("[[roots]]\npath = {:?}\n", desk.at(ROOT));
    desk.enrol_called("store", SERVER, &config);
    desk.start_agent("store");
    until("the agent connects", || {
        (desk.run("admin", &["agent", "show", SERVER])["connected"] == true).then_some(())
    });
    fs::write(desk.at("letter.pdf"), DOCUMENT).unwrap();
    let hold = order_and_hold(&desk, &format!("server:{SERVER}"));
    desk.run("operator", &["snapshot", "take", "--hold", &hold, "--wait"]);
    trouble(&mut desk);

    let owner = age::x25519::Identity::generate();
    let recipient = owner.to_public().to_string();
    let item = format!("account:{SERVER}:{OWNER}");
    let mut words = vec!["claim", "file", "--recipient", &recipient, "--sworn"];
    words.extend(["--item", &item, "--wait"]);
    let claim = id(&desk.run("claims", &words)).to_owned();
    let asked = desk.run("claims", &["request", "release", &claim]);
    for approver in ["a1", "a2"] {
        desk.run(approver, &["approve", id(&asked["requests"][0])]);
    }
    let release = asked["requests"][0]["release"].as_str().unwrap().to_owned();
    desk.run("claims", &["release", "show", &release, "--wait"]);
    let (parcel, receipt) = (desk.text("parcel.age"), desk.text("receipt.json"));
    desk.run("claims", &["release", "fetch", &release, "--out", &parcel]);
    desk.run(
        "claims",
        &["release", "receipt", &release, "--out", &receipt],
    );
    Case {
        desk,
        owner,
        claim,
        release,
    }
}

fn order_and_hold(desk: &Desk, include: &str) -> String {
    let document = desk.text("letter.pdf");
    let mut words = vec!["order", "add", "--kind", "us-2703f", "--received", "now"];
    words.extend(["--authority", AUTHORITY, "--reference", REFERENCE]);
    words.extend(["--document", &document, "--include", include]);
    let order = desk.run("intake", &words);
    let placed = desk.run("operator", &["hold", "place", "--order", id(&order)]);
    let hold = id(&placed).to_owned();
    until("the servers have done what they can", || {
        let shown = desk.run("operator", &["hold", "show", &hold]);
        let state = shown["targets"][0]["state"].as_str().unwrap();
        matches!(state, "verified" | "failed").then_some(())
    });
    hold
}

/// What goes wrong is logged, too: a place that is gone, roles that do not fit, a wrong place.
fn trouble(desk: &mut Desk) {
    let gone = format!("path:{SERVER}:{}/{OWNER}/{FILE}.gone", desk.text(ROOT));
    desk.stop_agent("store");
    let order = {
        let mut words = vec!["order", "add", "--kind", "us-2703f", "--received", "now"];
        words.extend(["--authority", AUTHORITY, "--reference", REFERENCE]);
        words.extend(["--include", &gone]);
        desk.run("intake", &words)
    };
    let placed = desk.run("operator", &["hold", "place", "--order", id(&order)]);
    desk.start_agent("store");
    until("the agent finds nothing there", || {
        let shown = desk.run("operator", &["hold", "show", id(&placed)]);
        (shown["targets"][0]["trouble"] == "not-found").then_some(())
    });
    let account = format!("account:{OWNER}");
    let mut words = vec!["order", "add", "--kind", "us-2703f", "--received", "now"];
    words.extend(["--authority", AUTHORITY, "--reference", REFERENCE]);
    words.extend(["--include", &account]);
    assert_eq!(desk.fails("claims", &words, 3)["rule"], "role");
    desk.fails("claims", &["snapshot", "take", "--hold", "hld-"], 3);
}

#[test]
fn nothing_personal_comes_out_and_what_is_erased_is_gone_while_every_proof_holds() {
    let test = "nothing_personal_comes_out_and_what_is_erased_is_gone_while_every_proof_holds";
    if !is_root(test) {
        return;
    }
    let mut case = play();
    in_no_log(&case);
    the_coordinator_never_sees_content(&case);
    a_parcel_shows_one_owner(&case);
    erased(&mut case);
}

fn in_no_log(case: &Case) {
    let served = Digest::of(DOCUMENT).to_string();
    let owner = case.owner.to_public().to_string();
    let mut canaries: Vec<&[u8]> = vec![served.as_bytes(), owner.as_bytes(), DOCUMENT];
    canaries.extend(PEOPLE.iter().map(|(_, called, _)| called.as_bytes()));
    for text in [
        SERVER,
        AUTHORITY,
        REFERENCE,
        ROOT,
        OWNER,
        FILE,
        CONTENT,
        STRANGER,
        THEIRS,
        THEIR_CONTENT,
    ] {
        canaries.push(text.as_bytes());
    }
    let desk = &case.desk;
    for place in [
        "server/log",
        "server/checkpoints",
        "server.log",
        "store.log",
        "store.agent/journal",
        "receipt.json",
    ] {
        let canaries: Vec<_> = match place {
            // The receipt says for whom the parcel was encrypted; that is its purpose.
            "receipt.json" => canaries
                .iter()
                .copied()
                .filter(|c| *c != owner.as_bytes())
                .collect(),
            _ => canaries.clone(),
        };
        nowhere(&desk.at(place), &canaries);
    }
    // Kept apart, it is kept under keys: not one word lies readable in the coordinator's database.
    for name in ["journal.db", "journal.db-wal"] {
        nowhere(&desk.at("server").join(name), &canaries);
    }
    // The test would see one: what is opened to who may read it does come out.
    let shown = desk.run("legal", &["order", "list"]).to_string();
    assert!(holds(shown.as_bytes(), AUTHORITY.as_bytes()));
}

fn the_coordinator_never_sees_content(case: &Case) {
    let contents = [CONTENT.as_bytes(), THEIR_CONTENT.as_bytes()];
    nowhere(&case.desk.at("server"), &contents);
    nowhere(&case.desk.at("parcel.age"), &contents);
}

fn a_parcel_shows_one_owner(case: &Case) {
    let desk = &case.desk;
    let identity = desk.at("identity");
    fs::write(&identity, case.owner.to_string().expose_secret()).unwrap();
    let tar = desk.at("parcel.tar");
    let mut age = Command::new("age");
    age.arg("--decrypt")
        .arg("-i")
        .arg(&identity)
        .arg("-o")
        .arg(&tar);
    done(age.arg(desk.at("parcel.age")));
    let opened = fs::read(&tar).unwrap();
    for canary in [CONTENT, OWNER, FILE] {
        assert!(holds(&opened, canary.as_bytes()), "{canary} is missing");
    }
    // Neither the other's name, nor the path, nor the hash by which one could ask for it.
    let hash = Digest::of(THEIR_CONTENT.as_bytes());
    let hex = hash.to_string();
    let canaries = [
        STRANGER.as_bytes(),
        THEIRS.as_bytes(),
        THEIR_CONTENT.as_bytes(),
        hex.as_bytes(),
        hash.as_bytes(),
    ];
    for place in ["parcel.tar", "receipt.json"] {
        nowhere(&desk.at(place), &canaries);
    }
}

/// The key and the openings of one subject, as they lie in the coordinator's database.
const KEPT: &str = "
import sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
for table, column in (('subject_keys', 'secret'), ('openings', 'sealed')):
    query = 'SELECT %s FROM %s WHERE subject = ?' % (column, table)
    for (value,) in db.execute(query, (sys.argv[2],)):
        print(value.hex())
";

fn kept(desk: &Desk, subject: &str) -> Vec<Vec<u8>> {
    let mut python = Command::new(std::env::var("HOLDFAST_PYTHON").unwrap_or("python3".into()));
    python.args(["-c", KEPT]).arg(desk.at("server/journal.db"));
    let lines = done(python.arg(subject));
    lines
        .lines()
        .map(|line| hex::decode(line).unwrap())
        .collect()
}

fn erased(case: &mut Case) {
    let desk = &mut case.desk;
    let claim = desk.run("claims", &["claim", "show", &case.claim]);
    let subject = claim["subject"].as_str().unwrap().to_owned();
    let before = kept(desk, &subject);
    assert_eq!(before.len(), 3, "a key, the recipient and one item");
    desk.run("claims", &["claim", "withdraw", &case.claim]);
    desk.run("legal", &["claim", "erase", &case.claim]);
    // At once for whoever reads, and in the database's own files with the next time they are cut.
    let shown = desk.run("claims", &["claim", "show", &case.claim]);
    assert_eq!(
        (&shown["recipient"], &shown["items"][0]["value"]),
        (&Value::Null, &Value::Null)
    );
    assert!(kept(desk, &subject).is_empty());
    let left = |desk: &Desk| {
        let names = ["journal.db", "journal.db-wal"].map(|name| desk.at("server").join(name));
        let bytes: Vec<_> = names
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .collect();
        let found = |secret: &&Vec<u8>| bytes.iter().any(|bytes| contains(bytes, secret));
        before.iter().filter(found).count()
    };
    until("nothing of it is left on disk", || {
        (left(desk) == 0).then_some(())
    });
    assert!(desk.stop().success());
    assert_eq!(left(desk), 0);
    assert!(desk.replay().contains("everything is as the entries say"));
    let vkey = desk.text("server/log.vkey");
    for place in ["server/log", "receipt.json"] {
        let mut verify = tool();
        verify.arg("verify").arg(desk.at(place));
        done(verify.args(["--vkey", &vkey]));
    }
    // The erasure is an entry; and what was delivered before is proved still.
    desk.start();
    let log = desk.entries("legal");
    let erasures = log.iter().filter(|entry| entry["kind"] == "subject.erase");
    assert_eq!(erasures.count(), 1);
    let shown = desk.run("legal", &["release", "show", &case.release]);
    assert_eq!(shown["state"], "delivered");
}
