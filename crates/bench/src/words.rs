//! Words for names.

pub(crate) const COMPANIES: &[&str] = &[
    "Northwind",
    "Fabrikam",
    "Contoso",
    "Tailspin",
    "Umbra",
    "Initech",
    "Vandelay",
    "Stark",
    "Wayne",
    "Acme",
    "Globex",
    "Hooli",
    "Soylent",
    "Cyberdyne",
    "Aperture",
    "Wonka",
    "Duff",
    "Gringotts",
    "Monarch",
    "Tyrell",
];
pub(crate) const TRADES: &[&str] =
    &["Retail", "Clinics", "Logistics", "Foods", "Bank", "Schools", "Energy", "Studios", "Works", "Lab"];
pub(crate) const MACHINES: &[&str] = &["web", "db", "app", "mail", "file", "build", "cache", "erp", "vpn", "print"];
pub(crate) const TEAMS: &[&str] = &[
    "sales", "support", "finance", "office", "design", "desk", "night", "field", "plant", "store", "studio", "board",
    "legal", "archive", "lab", "dock",
];
pub(crate) const PLANS: &[&str] = &[
    "Nightly",
    "Servers every night",
    "Databases hourly",
    "Mailboxes",
    "Workstations weekly",
    "Everything to the vault",
    "Gold",
    "Silver",
    "Bronze",
    "Entire machine to cloud storage",
];
pub(crate) const TAGS: &[&str] = &[
    "gold",
    "silver",
    "bronze",
    "prod",
    "test",
    "staging",
    "pci",
    "gdpr",
    "eu-central",
    "eu-west",
    "us-east",
    "legal",
    "finance",
    "critical",
    "weekly",
    "monthly",
    "migrated",
    "vip",
    "trial",
    "edge",
    "linux",
    "windows",
    "sql",
    "exchange",
];

/// What goes wrong: domain, code and sentence.
pub(crate) const ERRORS: &[(&str, &str, &str)] = &[
    ("Storage", "quotaExceeded", "The repository is full: its quota of 2 TiB is used up."),
    ("Storage", "unreachable", "The repository did not answer within 120 seconds."),
    ("Storage", "accessDenied", "The repository refused the credentials of the agent."),
    ("Source", "notFound", "A folder that should be backed up does not exist any more."),
    ("Source", "snapshotFailed", "The snapshot of the volume could not be made because of a lack of space."),
    ("Agent", "outOfMemory", "The process that did the work was ended because the machine ran out of memory."),
    ("Network", "connectionReset", "The connection was reset by the other side after 48 seconds."),
];
/// What is worth a look: code and sentence.
pub(crate) const WARNINGS: &[(&str, &str)] = &[
    ("unreadable", "Some files could not be read and are not in the backup."),
    ("changedWhileRead", "Some files changed while they were read."),
    ("slow", "The backup window was exceeded."),
];
