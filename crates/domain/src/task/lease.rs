//! Leases: the fence between an executor that has a task and one that had it.

use crate::Timestamp;

use super::Executor;

/// An opaque token, new with each hand-out. Every report carries it; a report with an old one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub String);

/// A task in somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who has it.
    pub executor: Executor,
    /// What its reports must carry.
    pub lease: LeaseToken,
    /// When it was handed out.
    pub assigned_at: Timestamp,
    /// The last report under this lease; the hand-out itself counts.
    pub last_report_at: Timestamp,
}
