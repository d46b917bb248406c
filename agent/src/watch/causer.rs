//! Causers: which program a process is, asked at once, for it may be gone in a moment.

use std::fs;

/// A process as `program pid uid`. Of one that is gone by now only the number is known.
///
/// The program's name is what the process calls itself: at most 15 bytes, and it can lie.
pub fn of(pid: i32) -> Option<String> {
    if pid <= 0 {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Some(say(pid, &status))
}

/// Reads a process's `status` file.
fn say(pid: i32, status: &str) -> String {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start())
    };
    let program = field("Name:").unwrap_or("?");
    let uid = field("Uid:").and_then(|uids| uids.split_whitespace().next());
    format!("{program} {pid} {}", uid.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_said_with_its_name_and_user_and_one_that_is_gone_by_its_number() {
        let status = "Name:\tchattr\nUmask:\t0022\nUid:\t0\t1000\t0\t0\nGid:\t5\n";
        assert_eq!(say(7, status), "chattr 7 0");
        assert_eq!(say(7, "Name:\ta b\n"), "a b 7 ?");
        assert_eq!(say(7, ""), "? 7 ?");
        assert_eq!(of(0), None);
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let uid = rustix::process::getuid().as_raw();
        assert!(of(own).is_some_and(|said| said.ends_with(&format!("{own} {uid}"))));
    }
}
