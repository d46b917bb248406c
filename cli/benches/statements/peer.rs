//! The peer: PostgreSQL from Debian's package, its defaults, on the same disk.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A row as large as one of our entries with its columns.
const TABLE: &str = "CREATE TABLE entries (id bigserial PRIMARY KEY, entry text NOT NULL)";
const INSERT: &str = "INSERT INTO entries (entry) VALUES (repeat('e', 1200));\n";

/// What pgbench measured.
pub struct Measured {
    pub rate: f64,
    /// Sorted, in microseconds.
    pub latencies: Vec<u32>,
}

/// A running PostgreSQL with one table.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
}

impl Postgres {
    /// Makes a database in a folder and starts it, reachable by a socket in that folder alone.
    pub fn start(folder: &Path) -> Self {
        let this = Self {
            programs: programs(),
            folder: folder.to_owned(),
        };
        fs::create_dir_all(folder).expect("the folder can be made");
        if rustix::process::geteuid().is_root() {
            // PostgreSQL does not run as root.
            let id = |flag| {
                let said = Command::new("id").args([flag, "postgres"]).output();
                let said = said.expect("id runs");
                let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
                text.parse::<u32>().expect("there is a user postgres")
            };
            chown(folder, Some(id("-u")), Some(id("-g"))).expect("the folder is given away");
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("its mode");
        let data = folder.join("data");
        this.run("initdb", |command| {
            command
                .args(["-A", "trust", "-U", "postgres", "-D"])
                .arg(&data)
        });
        let options = format!("-k {} -c listen_addresses=''", folder.display());
        this.run("pg_ctl", |command| {
            let command = command.args(["-w", "-o", &options, "-D"]).arg(&data);
            command.arg("-l").arg(folder.join("log")).arg("start")
        });
        this.run("psql", |command| command.args(["-qc", TABLE]));
        fs::write(folder.join("insert.sql"), INSERT).expect("the script is written");
        this
    }

    /// Runs one of its programs as its user; every one finds the server by the socket.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> String {
        let path = self.programs.join(program);
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                let words = ["--reuid=postgres", "--regid=postgres", "--init-groups"];
                command.args(words).arg(path);
                command
            }
            false => Command::new(path),
        };
        command
            .current_dir(&self.folder)
            .env("PGHOST", &self.folder)
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        let done = arguments(&mut command).output().expect("the program runs");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program}: {text}{error}");
        text
    }

    /// Commits single rows from that many clients; at a rate where one is given.
    pub fn pgbench(&self, clients: usize, seconds: Duration, rate: Option<f64>) -> Measured {
        let (clients, seconds) = (clients.to_string(), seconds.as_secs().to_string());
        let text = self.run("pgbench", |command| {
            command.args(["-n", "-M", "prepared", "-j", "2", "-f", "insert.sql"]);
            command.args(["-c", &clients, "-T", &seconds]);
            // Every twentieth transaction, for percentiles.
            command.args(["-l", "--log-prefix=latency", "--sampling-rate=0.05"]);
            if let Some(rate) = rate {
                command.args(["-R", &rate.to_string()]);
            }
            command
        });
        let tps = text.lines().find(|line| line.starts_with("tps = "));
        let rate = tps.and_then(|line| line.split(' ').nth(2)?.parse().ok());
        Measured {
            rate: rate.expect("pgbench says its rate"),
            latencies: self.latencies(),
        }
    }

    /// The third word of each line of pgbench's logs.
    fn latencies(&self) -> Vec<u32> {
        let mut all = Vec::new();
        for file in fs::read_dir(&self.folder).expect("the folder").flatten() {
            if file.file_name().to_string_lossy().starts_with("latency.") {
                let text = fs::read_to_string(file.path()).expect("a log of pgbench");
                let words = text.lines().filter_map(|line| line.split(' ').nth(2));
                all.extend(words.filter_map(|word| word.parse::<u32>().ok()));
                fs::remove_file(file.path()).expect("the log can go");
            }
        }
        all.sort_unstable();
        all
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.join("data");
        self.run("pg_ctl", |command| {
            command
                .args(["-m", "fast", "-w", "-D"])
                .arg(data)
                .arg("stop")
        });
    }
}

/// Where Debian keeps the newest version's programs; elsewhere, wherever `pg_config` says.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop().unwrap_or_else(|| {
        let asked = Command::new("pg_config").arg("--bindir").output();
        let asked = asked.expect("PostgreSQL is there (Debian package `postgresql`)");
        PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim())
    })
}
