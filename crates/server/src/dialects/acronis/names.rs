//! The dialect's own names for what the ledger calls otherwise: task types, resource types, enums, levels of detail
//! (contract, sections 4.2, 7 and 8.5). Whatever is not named here is called the same on both sides.

use domain::task::{Priority, ResultCode, State};

/// Task types that the vendor has names for (D52): the canonical one, and the one on the wire.
const TYPES: [(&str, &str); 2] = [("apply_policy", "policy.apply"), ("revoke_policy", "policy.revoke")];

/// What all machines are called on the wire, of whatever sort they are (D54).
const MACHINE: &str = "machine";

/// The canonical resource types that are shown as machines (D54).
const MACHINES: [&str; 2] = ["compute_vm", "bare_metal"];

/// The names of priorities, in the order of their ordinals (4.2).
pub(super) const PRIORITIES: &[&str] = &["low", "belowNormal", "normal", "aboveNormal", "high"];

/// A task type as it is shown (D52).
pub(super) fn type_to_wire(canonical: &str) -> &str {
    TYPES.iter().find(|(ours, _)| *ours == canonical).map_or(canonical, |(_, wire)| wire)
}

/// The canonical task type of either spelling (D52).
pub(super) fn type_from_wire(wire: &str) -> &str {
    TYPES.iter().find(|(_, theirs)| *theirs == wire).map_or(wire, |(ours, _)| ours)
}

/// A resource type as it is shown (D54).
pub(super) fn resource_type_to_wire(canonical: &str) -> &str {
    if MACHINES.contains(&canonical) { MACHINE } else { canonical }
}

/// The canonical resource types that a name on the wire stands for: `machine` for all that are shown so, and every other
/// name, the canonical one of a machine among them, for itself alone (D54).
pub(super) fn resource_types_from_wire(wire: &str) -> Vec<&str> {
    if wire == MACHINE { [MACHINE].into_iter().chain(MACHINES).collect() } else { vec![wire] }
}

/// A priority as it is shown.
pub(super) fn priority_to_wire(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => PRIORITIES[0],
        Priority::BelowNormal => PRIORITIES[1],
        Priority::Normal => PRIORITIES[2],
        Priority::AboveNormal => PRIORITIES[3],
        Priority::High => PRIORITIES[4],
    }
}

/// The priority of a name on the wire.
pub(super) fn priority_from_wire(wire: &str) -> Option<Priority> {
    PRIORITIES.iter().position(|name| *name == wire).map(|i| Priority::ALL[i])
}

/// A state as it is shown; the vendor's names are ours.
pub(super) fn state_to_wire(state: State) -> &'static str {
    state.name()
}

/// A result's code as it is shown; the vendor's names are ours.
pub(super) fn result_to_wire(code: ResultCode) -> &'static str {
    code.name()
}

/// How much of an object is shown; each level has what the one before has, and more (D38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lod {
    /// Which one, and in which state.
    Tiny,
    /// What the vendor's schemas require.
    Short,
    /// And what people look at; the default of lists.
    Long,
    /// And what executors need; the default of one object.
    Full,
    /// And what only we have.
    Debug,
}

impl Lod {
    /// All levels, the least first.
    pub(super) const ALL: [Lod; 5] = [Lod::Tiny, Lod::Short, Lod::Long, Lod::Full, Lod::Debug];

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Lod::Tiny => "tiny",
            Lod::Short => "short",
            Lod::Long => "long",
            Lod::Full => "full",
            Lod::Debug => "debug",
        }
    }

    /// The level of this name.
    pub(super) fn parse(name: &str) -> Option<Lod> {
        Lod::ALL.into_iter().find(|l| l.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_tasks_have_the_vendors_names_and_are_found_by_both() {
        // D52
        for (ours, wire) in [("apply_policy", "policy.apply"), ("revoke_policy", "policy.revoke")] {
            assert_eq!(type_to_wire(ours), wire);
            assert_eq!((type_from_wire(wire), type_from_wire(ours)), (ours, ours));
        }
        for same in ["backup", "recovery", "3B91AE0C-8D4B-4C52-9F0B-52F5D3A0E711", ""] {
            assert_eq!((type_to_wire(same), type_from_wire(same)), (same, same));
        }
    }

    #[test]
    fn machines_are_machines_and_each_sort_is_itself() {
        // D54
        assert_eq!(["compute_vm", "bare_metal", "machine"].map(resource_type_to_wire), ["machine"; 3]);
        assert_eq!(resource_types_from_wire("machine"), ["machine", "compute_vm", "bare_metal"]);
        for same in ["volume", "mailbox", "image", "resource.disk"] {
            assert_eq!((resource_type_to_wire(same), resource_types_from_wire(same)), (same, vec![same]));
        }
        assert_eq!(resource_types_from_wire("compute_vm"), ["compute_vm"]);
        assert_eq!(resource_types_from_wire("bare_metal"), ["bare_metal"]);
    }

    #[test]
    fn enums_have_the_names_and_the_order_of_the_contract() {
        // 4.2
        assert_eq!(PRIORITIES, ["low", "belowNormal", "normal", "aboveNormal", "high"]);
        for (i, priority) in Priority::ALL.iter().enumerate() {
            assert_eq!(priority_to_wire(*priority), PRIORITIES[i]);
            assert_eq!(priority_from_wire(PRIORITIES[i]), Some(*priority));
        }
        assert_eq!(priority_from_wire("below_normal"), None);
        let states: Vec<_> = State::ALL.iter().map(|s| state_to_wire(*s)).collect();
        assert_eq!(states, ["enqueued", "assigned", "started", "paused", "completed"]);
        let codes: Vec<_> = ResultCode::ALL.iter().map(|c| result_to_wire(*c)).collect();
        assert_eq!(codes, ["ok", "error", "warning", "cancelled", "abandoned", "timedout"]);
    }

    #[test]
    fn levels_of_detail_rise() {
        // D38
        let names: Vec<_> = Lod::ALL.iter().map(|l| l.name()).collect();
        assert_eq!(names, ["tiny", "short", "long", "full", "debug"]);
        assert!(Lod::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Lod::ALL.iter().all(|l| Lod::parse(l.name()) == Some(*l)));
        assert_eq!((Lod::parse("count"), Lod::parse("Long"), Lod::parse("")), (None, None, None));
    }
}
