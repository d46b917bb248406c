//! What whoever had a file open or mapped before the flag can still do past it, measured on each
//! file system; and that he is found, and named.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent::enforce::writers::{How, MOST, Wanted, left, scan};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    trees::{keeper, on, plant, target},
};
use custody::house::{finding::FindingKind, regime::Holding::Freeze};

/// A process that has a file open, or mapped, and then does one thing with what it has.
const OLD: &str = "
import ctypes,os,sys,threading
libc=ctypes.CDLL(None,use_errno=True)
libc.mmap.restype=ctypes.c_void_p
path,how,act=sys.argv[1:4]
f=os.open(path,os.O_RDWR)
# Not Python's own mmap: that keeps the descriptor.
def mapped(): return libc.mmap(None,ctypes.c_size_t(8192),3,1,f,ctypes.c_long(0))
def put(m,at): ctypes.memmove(m+at,b's',1)
m=None
if how.startswith('mapped'):
    m=mapped()
    if how=='mapped and dirty': put(m,0)
    os.close(f)
def there(): print('there',flush=True); sys.stdin.readline()
if how=='in a thread of its own':
    libc.unshare(0x400)
    ready=threading.Event()
    def own():
        libc.unshare(0x400); ready.set(); sys.stdin.readline(); os._exit(0)
    threading.Thread(target=own).start(); ready.wait(); os.close(f)
    print('there',flush=True); threading.Event().wait()
there()
def fallocate(mode):
    if libc.fallocate(f,mode,ctypes.c_long(0),ctypes.c_long(4096)):
        raise OSError(ctypes.get_errno(),'')
def map_now():
    n=mapped(); put(n,0); libc.msync(ctypes.c_void_p(n),ctypes.c_size_t(8192),4)
def store():
    put(m,1); libc.msync(ctypes.c_void_p(m),ctypes.c_size_t(8192),4)
try:
    {'overwrite':lambda:os.pwrite(f,b'w',0),
     'append':lambda:os.pwrite(f,b'w',8192),
     'truncate':lambda:os.ftruncate(f,4096),
     'extend':lambda:os.ftruncate(f,1<<20),
     'punch':lambda:fallocate(3),
     'zero':lambda:fallocate(16),
     'preallocate':lambda:fallocate(1),
     'chmod':lambda:os.fchmod(f,0o777),
     'setxattr':lambda:os.setxattr(f,'user.note',b'x'),
     'utimes':lambda:os.utime(f,(1,1)),
     'reopen':lambda:os.open('/proc/self/fd/%d'%f,os.O_WRONLY),
     'map and store':map_now,
     'store':store,
     'nothing':lambda:None}[act]()
    print('goes through',flush=True)
except OSError as e: print(os.strerror(e.errno),flush=True)
";

struct Old {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Old {
    fn spawn(file: &Path, how: &str, act: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", OLD])
            .arg(file)
            .args([how, act])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Waits until it has what it wants.
    fn there(&mut self) {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
    }

    fn start(file: &Path, how: &str, act: &str) -> Self {
        let mut old = Self::spawn(file, how, act);
        old.there();
        old
    }

    /// Lets it act; says what came of it.
    fn acts(mut self) -> String {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let ended = self.child.wait().unwrap();
        match ended.signal() {
            Some(7) => "killed by SIGBUS".to_owned(),
            Some(other) => panic!("killed by signal {other}"),
            None => line.trim().to_owned(),
        }
    }
}

const NO: &str = "Operation not permitted";
const GOES: &str = "goes through";
const BUS: &str = "killed by SIGBUS";

/// What is tried, by one who has the file how, and what comes of it on ext4, XFS and btrfs.
const PAST: [(&str, &str, [&str; 3]); 14] = [
    ("overwrite", "open", [NO, GOES, GOES]),
    ("append", "open", [NO, GOES, GOES]),
    ("truncate", "open", [NO, GOES, GOES]),
    ("extend", "open", [NO, GOES, GOES]),
    ("punch", "open", [NO, NO, NO]),
    ("zero", "open", [NO, NO, NO]),
    ("preallocate", "open", [NO, NO, NO]),
    ("chmod", "open", [NO, NO, NO]),
    ("setxattr", "open", [NO, NO, NO]),
    ("utimes", "open", [NO, NO, NO]),
    ("reopen", "open", [NO, NO, NO]),
    ("map and store", "open", [BUS, GOES, GOES]),
    ("store", "mapped", [BUS, GOES, GOES]),
    ("store", "mapped and dirty", [BUS, GOES, GOES]),
];

#[test]
fn what_goes_past_the_flag_is_as_written_down_and_is_never_called_held() {
    if !can_mount("what_goes_past_the_flag_is_as_written_down_and_is_never_called_held") {
        return;
    }
    for (at, (kind, size)) in KINDS.into_iter().enumerate() {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = mounted.path().join("data");
        fs::create_dir(&data).unwrap();
        let file = |number: usize| data.join(number.to_string());
        let mut all: Vec<_> = (0..PAST.len())
            .map(|number| {
                fs::write(file(number), vec![b'x'; 8192]).unwrap();
                let (act, how, _) = PAST[number];
                Old::spawn(&file(number), how, act)
            })
            .collect();
        all.iter_mut().for_each(Old::there);
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert_eq!(proof.writers, PAST.len() as u64, "{kind}");
        assert!(!proof.holds() && proof.attempts == proof.refused, "{kind}");
        // It is said who they are, so that somebody can end them.
        let source = keeper.source(target(1)).unwrap();
        let left = left(&source, &data, proof.writers, Duration::from_secs(10));
        let (what, count) = (FindingKind::WriterLeft, PAST.len() as u64);
        assert_eq!((left.what, left.count), (what, count), "{kind}");
        assert_eq!(left.places.len(), 8, "{kind}: examples");
        let by = left.by.unwrap();
        let pids: Vec<_> = all.iter().map(|old| old.child.id().to_string()).collect();
        for named in by.split(", ") {
            let words: Vec<_> = named.split(' ').collect();
            assert!(
                words.len() == 3 && words[0] == "python3" && words[2] == "0",
                "{by}"
            );
            assert!(pids.iter().any(|pid| pid == words[1]), "{by}");
        }
        assert_eq!(by.split(", ").count(), 8, "{kind}: {by}");
        // What an old writer does moves a time under the flag, which no clock of his can undo.
        let mut changed = 0;
        for (number, old) in all.drain(..).enumerate() {
            let (act, how, outcomes) = PAST[number];
            assert_eq!(
                old.acts(),
                outcomes[at],
                "{kind}: {act} by one who has it {how}"
            );
            changed += u64::from(outcomes[at] == GOES);
        }
        let found = keeper.check(target(1), &on()).unwrap();
        let counts: Vec<_> = found.iter().map(|one| (one.what, one.count)).collect();
        let expected: &[_] = match changed {
            0 => &[],
            count => &[(FindingKind::HeldChanged, count)],
        };
        assert_eq!(counts, expected, "{kind}");
        // All have gone: what is there now is held.
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn whoever_has_a_held_file_is_named_however_he_has_it() {
    if !can_mount("whoever_has_a_held_file_is_named_however_he_has_it") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let data = plant(mounted.path());
        let names = ["a", "b", "sub/c"];
        let hows = ["open", "mapped", "in a thread of its own"];
        for name in names {
            fs::write(data.join(name), vec![b'x'; 8192]).unwrap();
        }
        let olds: Vec<_> = (0..3)
            .map(|at| Old::start(&data.join(names[at]), hows[at], "nothing"))
            .collect();
        // Whoever only reads is no writer, and neither is whoever writes to another file.
        let _reader = File::open(data.join("other/d")).unwrap();
        let open = |name| File::open(data.join(name)).unwrap();
        let files = ["other/d", "a", "b", "sub/c"].map(open);
        let wanted = files.each_ref().map(|file| Wanted::new(file).unwrap());
        let began = Instant::now();
        let seen = scan(&wanted, Duration::from_secs(10));
        assert!(seen.complete, "{kind}");
        let named: Vec<_> = seen
            .writers
            .iter()
            .map(|writer| (writer.file, writer.to_string(), writer.how))
            .collect();
        let expected: Vec<_> = [How::Open, How::Mapped, How::Open]
            .into_iter()
            .zip(&olds)
            .enumerate()
            .map(|(at, (how, old))| (at + 1, format!("python3 {} 0", old.child.id()), how))
            .collect();
        assert_eq!(named, expected, "{kind}");
        assert!(began.elapsed() < Duration::from_secs(5), "{kind}");
        // No time, no names; and nothing is said to be complete that is not.
        let nothing = scan(&wanted, Duration::ZERO);
        assert!(!nothing.complete && nothing.writers.len() <= MOST, "{kind}");
        for old in olds {
            old.acts();
        }
        let seen = scan(&wanted, Duration::from_secs(10));
        assert_eq!((seen.writers, seen.complete), (Vec::new(), true), "{kind}");
    }
}

#[test]
fn a_writer_in_a_subvolume_is_not_taken_for_one_in_another() {
    if !can_mount("a_writer_in_a_subvolume_is_not_taken_for_one_in_another") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let file = |volume: &str| {
        let volume = mounted.path().join(volume);
        common::tool(
            "btrfs",
            &["-q", "subvolume", "create", volume.to_str().unwrap()],
        );
        fs::write(volume.join("file"), vec![b'x'; 8192]).unwrap();
        volume.join("file")
    };
    let (one, two) = (file("one"), file("two"));
    let open = [&one, &two].map(|path| File::open(path).unwrap());
    // Two files of one number on one file system.
    let inode = |file: &File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    assert_eq!(inode(&open[0]), inode(&open[1]));
    let wanted = open.each_ref().map(|file| Wanted::new(file).unwrap());
    for how in ["open", "mapped"] {
        let old = Old::start(&two, how, "nothing");
        let seen = scan(&wanted, Duration::from_secs(10));
        let files: Vec<_> = seen.writers.iter().map(|writer| writer.file).collect();
        assert_eq!(files, [1], "{how}");
        old.acts();
    }
}
