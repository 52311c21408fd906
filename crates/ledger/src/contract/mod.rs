//! The contract: one suite that every store passes. A meaning that is not in here does not exist.
//!
//! To add a story: write an `async fn(w: &mut World) -> Result<()>` in one of the files below and name it in `suite!`. It
//! then runs on every store, and ends with a look for damage.

mod indexed;
mod properties;
mod random;
mod story;
pub(crate) mod world;

pub(crate) use self::records::one_of_each;
use self::world::World;

macro_rules! suite {
    ($($module:ident { $($name:ident,)+ })+) => {
        $(mod $module;)+

        mod on_memory {
            $($(
                #[tokio::test]
                async fn $name() {
                    let mut w = super::World::in_memory().await;
                    super::$module::$name(&mut w).await.expect("the story goes through");
                    w.finish().await;
                }
            )+)+
        }

        mod on_sqlite {
            $($(
                #[tokio::test]
                async fn $name() {
                    let dir = tempfile::tempdir().expect("a temporary folder can be made");
                    let mut w = super::World::in_file(&dir.path().join("ledger.db")).await;
                    super::$module::$name(&mut w).await.expect("the story goes through");
                    w.finish().await;
                }
            )+)+
        }
    };
}

suite! {
    tasks {
        creating_again_gives_the_task_that_exists,
        a_wish_is_kept_to_the_last_field,
        all_writes_or_none,
        numbers_are_dense_and_never_used_again,
        stamps_only_grow,
        a_task_in_its_executors_hands,
        cancelling,
        deleting_and_purging,
    }
    claims {
        by_priority_then_by_age,
        by_queue_and_type,
        affinity_is_respected,
        only_within_the_scope,
        more_wanted_than_there_is,
        two_claimers_never_get_the_same,
        what_waited_too_long_is_not_handed_out,
    }
    turns {
        tenants_take_turns,
        a_newcomer_does_not_wait_for_a_backlog,
        who_comes_first_is_served_first,
        idling_gives_no_credit,
        enqueuing_one_by_one_gains_nothing,
        urgency_comes_before_turns,
        queues_take_turns,
        what_is_bound_takes_turns_with_the_rest,
        what_comes_back_is_next,
        types_and_subtrees_take_their_own,
        a_subtree_finds_its_own_behind_many_others,
        a_refused_commit_uses_no_turn,
        an_empty_lane_is_forgotten,
    }
    leases {
        an_old_lease_is_refused,
        a_report_after_the_deadline_meets_what_it_brought,
        every_timer_runs_out,
        a_restart_gives_time,
        a_lease_is_lost_in_time_by_a_clock_that_was_set_back,
        a_heartbeat_is_no_change,
        completing_twice_is_once,
    }
    activities {
        one_root_for_ever,
        reports_on_steps,
        steps_end_with_their_task,
        steps_of_a_task_that_returns,
        steps_are_fenced,
        steps_are_deleted_with_their_task,
    }
    scopes {
        foreigners_see_nothing,
        foreigners_change_nothing,
        a_number_is_no_prefix,
        everything_below_is_seen,
        siblings_have_different_names,
        only_what_holds_nothing_is_deleted,
    }
    records {
        put_and_get_every_kind,
        the_revision_guards,
        keys_are_unique,
        removing,
        a_repository_stays_while_anything_needs_it,
        a_policy_stores_in_what_is_there,
        tenants_keep_their_place,
        asked_for_by_their_own_fields,
    }
    queries {
        pages_by_place,
        pages_by_number,
        absent_values_come_last,
        text_without_regard_to_case,
        labels,
        groups,
        groups_of_activities,
        ids_in_any_letter_case,
        the_newest_of_each_resource,
        what_cannot_be_asked,
    }
    feed {
        every_final_state_once,
        a_revision_is_never_cut,
        only_changes_take_a_revision,
        the_newest_revision_is_announced,
        nothing_appears_behind_the_horizon,
    }
}
