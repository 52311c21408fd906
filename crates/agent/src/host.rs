//! What is known and set about the machine that the agent runs on.

use std::path::PathBuf;

/// What is set about the machine. By default nothing is, and the agent goes by what it finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The id by which the machine wishes to be known, such as its id in a cloud.
    pub instance_id: Option<String>,
    /// What to back up where a policy names nothing; empty = the local file systems.
    pub roots: Vec<PathBuf>,
    /// Where the machine's own system is mounted, if the agent was started from rescue media: what is restored to its
    /// original place goes below it.
    pub rescue: Option<PathBuf>,
    /// Run no commands that policies name: an enabled one counts as failed.
    pub no_commands: bool,
    /// The folders below which folders are made for what is restored to a place of its own; the first where none is named.
    pub restore_roots: Vec<PathBuf>,
    /// Where files lie that are on their way to the server; none = where the system keeps what is temporary.
    pub spool: Option<PathBuf>,
}

impl Host {
    pub(crate) fn spool(&self) -> PathBuf {
        self.spool.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// What the agent finds about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What runs here, in people's words.
    pub os: String,
    /// Whether the machine is a virtual one.
    pub virtual_machine: bool,
}

/// What the agent finds about the machine that it runs on.
#[must_use]
pub fn facts() -> Facts {
    Facts { os: os(), virtual_machine: is_virtual() }
}

/// What runs here, in people's words.
pub(crate) fn os() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let name = name.map_or(std::env::consts::OS, |n| n.trim_matches('"'));
    format!("{name}, {}", std::env::consts::ARCH)
}

/// The IANA name of the zone that the machine is set to.
pub(crate) fn time_zone() -> Option<String> {
    jiff::tz::TimeZone::try_system().ok()?.iana_name().map(str::to_owned)
}

/// Whether the machine is a virtual one: its processor or its hypervisor says so.
pub(crate) fn is_virtual() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
        || std::fs::exists("/sys/hypervisor/type").unwrap_or(false)
}
