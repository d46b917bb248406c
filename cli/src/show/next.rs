//! Next steps: what a person does about a target in trouble, or a finding.
//!
//! The words are the law's and the agents'; [deploy/RUNBOOK.md] says more about each.
//!
//! [deploy/RUNBOOK.md]: ../../../deploy/RUNBOOK.md

use custody::house::finding::FindingKind;

/// What to do about why a place cannot be held, by its word.
pub fn of_trouble(word: &str) -> Option<&'static str> {
    Some(match word {
        "too-weak" => {
            "Its server has no mechanism as strong as was asked for. Lift it and place it again \
             with a lower --at-least, or move the data to a file system that can do more"
        }
        "not-found" => "Nothing is at this path. Check the order's path with who served it",
        "outside-roots" => {
            "The path lies in none of the roots of its server. Add the root to its agent.toml, or \
             correct the path"
        }
        "symlink" => "The path leads through a symbolic link. Name the place that it points to",
        "other-file-system" => {
            "Another file system is mounted there. Give it a root of its own in agent.toml"
        }
        "no-space" => "Make room in the vault, or point it elsewhere in agent.toml",
        "read-only" => "Mount the file system for writing, or point the vault elsewhere",
        "not-mounted" => "Mount the file system again: the hold goes on by itself",
        "unmounted" => "Mount the file system again: the hold goes on by itself",
        "mounted-over" => "Unmount what hides it: what lies under it is as it was",
        "other-agent" => "Give each agent of this host roots and vaults of its own",
        "bytes-differ" => "Check the vault's disk; the copy is made again by itself",
        "unproved" => "It is tried again by itself. End the programs that have it open for writing",
        "not-supported" => "Look at its agent's log: it says what this server cannot do",
        "io-error" => "Look at the host's log for its disks; it is tried again by itself",
        "no-bucket" => "Correct the store's bucket or endpoint in its agent.toml",
        "no-versioning" => "Enable versioning and Object Lock on the bucket, or move the data",
        "no-object-lock" => "Enable Object Lock on the bucket, or move the data to one that has it",
        "store-credentials" => "Put valid keys into the store's credentials file on its server",
        "store-denied" => {
            "Allow the agent's key in the store's policy what the example of agent.toml lists"
        }
        "store-region" => "Correct the store's region in its agent.toml",
        "store-unreachable" => {
            "Check the store, and the network to it; it is tried again by itself"
        }
        "store-answer" => "Look at the store's own log; it is tried again by itself",
        "clock" => "Set the clock of its server: the store refuses what it signs",
        "list-changed" => {
            "Restore the agent's data folder from a backup, or lift the hold and place it anew"
        }
        _ => return None,
    })
}

/// What to do about a finding.
pub const fn of_finding(what: FindingKind) -> &'static str {
    match what {
        FindingKind::Equivocation => {
            "Take the server out of service: two agents, or a copy of one, speak under one key"
        }
        FindingKind::ProtectionGone => {
            "The agent puts it back. Ask who on that host took it off, and keep the answer"
        }
        FindingKind::HeldChanged => {
            "Check the newest snapshot; what is lost can come back from a second copy"
        }
        FindingKind::Appeared => "It is not held. Look whether the order's scope means it",
        FindingKind::BytesDiffer => "Nothing was released. Check the disk, then pack again",
        FindingKind::ManifestDiffers => "Do not use this snapshot. Take another, and keep both",
        FindingKind::Unmounted => "Mount the file system again: the hold goes on by itself",
        FindingKind::MountedOver => "Unmount what hides it: what lies under it is as it was",
        FindingKind::SnapshotGone => {
            "What it kept is lost there. Ask who removed it; restore from a second copy"
        }
        FindingKind::Unreadable => "Copy what can still be read, and replace the disk",
        FindingKind::FixityDiffers => {
            "Repair it from a second copy, or report the loss to who gave the order"
        }
        FindingKind::Wiped => "An incident: nobody had cleared it. Report it to legal counsel",
        FindingKind::ClockJumped => "Correct the host's clock; times near it are doubtful",
        FindingKind::SecondAgent => "Stop one of the two agents of this host",
        FindingKind::WriterLeft => "End that program; the next proof then finds no writer",
    }
}
