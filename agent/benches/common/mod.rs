//! What the benchmarks of this crate share: trees that are the same each time, and contests in
//! which every contender runs in turn, so that a noisy machine is noisy for all of them.
#![allow(dead_code, unreachable_pub)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Where the trees are laid: `HOLDFAST_BENCH_DIR`, else the build's folder.
pub fn place(name: &str) -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    folder.join(name)
}

/// A random sequence that is the same for the same seed (splitmix64).
pub struct Sequence(pub u64);

impl Sequence {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number between 0 and 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A file size: log-normal with this median and one unit of spread.
    fn size(&mut self, median: f64) -> u64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (median * normal.exp()).clamp(1.0, 4e6) as u64
    }
}

fn fill(path: &Path, size: u64, sequence: &mut Sequence) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut left = size;
    let mut block = vec![0_u8; 1 << 16];
    while left > 0 {
        let count = left.min(block.len() as u64) as usize;
        for word in block[..count.next_multiple_of(8)].chunks_exact_mut(8) {
            word.copy_from_slice(&sequence.next().to_le_bytes());
        }
        file.write_all(&block[..count])?;
        left -= count as u64;
    }
    Ok(())
}

fn once(folder: &Path, lay: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    let done = folder.with_extension("laid");
    if !done.exists() {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        lay()?;
        File::create(done)?;
    }
    Ok(())
}

/// `count` files of `size` bytes each.
pub fn large(folder: &Path, count: u64, size: u64) -> std::io::Result<()> {
    once(folder, || {
        (0..count).try_for_each(|n| {
            fill(
                &folder.join(format!("large-{n}.bin")),
                size,
                &mut Sequence(n),
            )
        })
    })
}

/// `count` files of median 8 KiB, 400 in a folder.
pub fn small(folder: &Path, count: u64) -> std::io::Result<()> {
    once(folder, || {
        let mut sequence = Sequence(7);
        for n in 0..count {
            let home = folder.join(format!("folder-{:04}", n / 400));
            if n % 400 == 0 {
                fs::create_dir(&home)?;
            }
            let size = sequence.size(8192.0);
            fill(&home.join(format!("file-{n:06}")), size, &mut sequence)?;
        }
        Ok(())
    })
}

/// Files, and bytes of files, below a folder.
pub fn measure(folder: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (more, most) = match entry.file_type()?.is_dir() {
            true => measure(&entry.path())?,
            false => (1, entry.metadata()?.len()),
        };
        files += more;
        bytes += most;
    }
    Ok((files, bytes))
}

/// One way of doing the work.
pub struct Contender {
    pub name: &'static str,
    pub command: Command,
    /// A line for the shell before each run, which is not timed.
    pub prepare: Option<String>,
    /// The most rounds that it takes part in.
    pub rounds: usize,
}

impl Contender {
    pub fn shell(name: &'static str, line: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        Self {
            name,
            command,
            prepare: None,
            rounds: usize::MAX,
        }
    }

    /// Takes part in so many rounds only, since it is slow.
    pub fn at_most(self, rounds: usize) -> Self {
        Self { rounds, ..self }
    }
}

/// What was measured of one contender: its best round.
pub struct Result {
    pub name: &'static str,
    pub best: Duration,
    /// User and system time of the best round.
    pub cpu: f64,
    /// Largest resident memory in KiB over all rounds, of the largest process.
    pub memory: u64,
}

/// Runs everyone once to warm the page cache (who is slow finds it warm), then in turn for some
/// rounds.
pub fn contest(mut contenders: Vec<Contender>, rounds: usize) -> Vec<Result> {
    let mut results: Vec<Result> = Vec::new();
    for round in 0..=rounds {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let warming = round == 0 && contender.rounds < rounds;
            if warming || round > contender.rounds {
                if warming {
                    results.push(Result {
                        name: contender.name,
                        best: Duration::MAX,
                        cpu: 0.0,
                        memory: 0,
                    });
                }
                continue;
            }
            if let Some(line) = &contender.prepare {
                let done = Command::new("sh").args(["-c", line]).output();
                let done = done.expect("a shell runs");
                let text = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "before {}: {text}", contender.name);
            }
            let (took, cpu, memory) = run(&mut contender.command, contender.name);
            match (round, results.get_mut(at)) {
                (0, _) => results.push(Result {
                    name: contender.name,
                    best: Duration::MAX,
                    cpu: 0.0,
                    memory,
                }),
                (_, Some(result)) => {
                    result.memory = result.memory.max(memory);
                    if took < result.best {
                        (result.best, result.cpu) = (took, cpu);
                    }
                }
                (_, None) => {}
            }
        }
    }
    results
}

/// Runs a command under GNU time, which tells its CPU time and peak memory.
fn run(command: &mut Command, name: &str) -> (Duration, f64, u64) {
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-q", "-f", "%U %S %M"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let output = timed
        .output()
        .expect("GNU time runs (Debian package `time`)");
    let took = begun.elapsed();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {text}");
    let words: Vec<f64> = text
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(words.len(), 3, "{name}: {text}");
    (took, words[0] + words[1], words[2] as u64)
}

/// Prints a table with every contender's ratio to the first.
pub fn print(title: &str, files: u64, bytes: u64, results: &[Result]) {
    println!(
        "\n### {title}: {files} files, {:.1} MB\n",
        bytes as f64 / 1e6
    );
    println!("| | seconds | MB/s | files/s | CPU s | peak MiB | time against ours |");
    println!("|---|---|---|---|---|---|---|");
    for result in results {
        let seconds = result.best.as_secs_f64();
        println!(
            "| {} | {seconds:.3} | {:.0} | {:.0} | {:.2} | {:.1} | {:.2}x |",
            result.name,
            bytes as f64 / 1e6 / seconds,
            files as f64 / seconds,
            result.cpu,
            result.memory as f64 / 1024.0,
            seconds / results[0].best.as_secs_f64(),
        );
    }
}
