//! What the operator decides about clients that take this server for a cloud.

use domain::SignedDuration;
use domain::import::ImportRules;

/// What clients of clouds are told of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Where clients reach this server, like `https://backup.example.com:443`; none = as each request names it.
    pub url: Option<String>,
    /// The name of the one region.
    pub region: String,
    /// How long tasks are shown that have ended.
    pub shown: SignedDuration,
    /// What images may be imported from beside what is public.
    pub imports: ImportRules,
}

impl Default for Cloud {
    fn default() -> Cloud {
        Cloud {
            url: None,
            region: "RegionOne".to_owned(),
            shown: crate::scheduler::History::default().shown,
            imports: ImportRules::default(),
        }
    }
}
