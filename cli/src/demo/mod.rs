//! `holdfast demo`: a whole case on one machine, with real processes.
//!
//! A coordinator and two agents run as processes of their own over mutual TLS, and every step
//! is a `holdfast` command that anyone could type. Nothing is faked for the show: what the story
//! says happened is read back from what the commands answered. It never touches anything
//! outside its own folder; a tree given with `--source` is copied first.

mod cast;
mod data;
mod process;
mod stage;
mod story;
mod summary;
mod tamper;
mod tell;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

pub use summary::Summary;

/// What the demo is asked to do.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// The folder in which everything happens; made if it is not there, and it must be empty.
    /// Default: a new folder below the system's folder for temporary files.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A real tree whose copy is held on the first server, instead of sample files.
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Stop everything when the story is told; otherwise it stays up for you to try.
    #[arg(long)]
    pub once: bool,
}

/// Plays the case. Its end is the process's exit code.
pub fn run(args: &DemoArgs) -> u8 {
    match play(args) {
        Ok(()) => 0,
        Err(error) => {
            tell::trouble(&error);
            1
        }
    }
}

fn play(args: &DemoArgs) -> anyhow::Result<()> {
    let (dir, source) = folders(args)?;
    let tell = tell::Teller::new();
    let mut stage = stage::Stage::new(&dir, &tell)?;
    let mut summary = Summary::default();
    story::tell(&mut stage, &tell, source.as_deref(), &mut summary)?;
    summary.write(&dir)?;
    tell.done(&dir, &summary);
    if !args.once {
        tell.stays_up(&dir, stage.address()?);
        process::wait_for_interrupt()?;
    }
    stage.stop()?;
    tell.removal(&dir);
    Ok(())
}

/// The demo's folder, empty and absolute, and the source's.
fn folders(args: &DemoArgs) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let dir = match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            dir.clone()
        }
        None => {
            let name = format!("holdfast-demo-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            dir
        }
    };
    let dir = dir.canonicalize()?;
    ensure!(
        std::fs::read_dir(&dir)?.next().is_none(),
        "{} is not empty: give a new folder, so that nothing of yours is touched",
        dir.display()
    );
    let source = match &args.source {
        None => None,
        Some(source) => {
            let source = source
                .canonicalize()
                .with_context(|| format!("cannot find {}", source.display()))?;
            ensure!(
                source.is_dir(),
                "{} is not a folder: --source takes a folder to copy",
                source.display()
            );
            ensure!(
                !dir.starts_with(&source),
                "{} lies inside {}: the copy would copy itself",
                dir.display(),
                source.display()
            );
            Some(source)
        }
    };
    Ok((dir, source))
}
