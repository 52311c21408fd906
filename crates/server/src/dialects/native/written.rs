//! Tasks as JSON, kept for when they are shown again: lists show the newest tasks again and again, and to write a task takes
//! longer than to find it. Nothing here is ever wrong: a text is used only for a task that is the same in every field.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::task::Task;
use serde_json::value::{RawValue, to_raw_value};

/// How many are kept at most, each at the place that its number gives it: those made one after the other, which lists show
/// together, do not push each other out.
const PLACES: usize = 4_096;

/// Longer texts, in bytes, are not kept, so that all together stay below 32 MiB.
const LONGEST: usize = 8 << 10;

/// Room for what a list says beside its items, in bytes.
const BESIDE_ITEMS: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Written {
    kept: Mutex<Vec<Option<Kept>>>,
}

struct Kept {
    task: Task,
    json: Arc<RawValue>,
}

impl Written {
    /// The task as [`api::Task`] is written.
    pub(super) fn json(&self, task: &Task) -> Arc<RawValue> {
        let place = task.id.0.unsigned_abs() as usize % PLACES;
        if let Some(Some(kept)) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(place)
            && same(&kept.task, task)
        {
            return kept.json.clone();
        }
        let json = to_raw_value(&api::Task::from(task)).expect("all keys are texts, and memory takes what is written");
        let json: Arc<RawValue> = json.into();
        if json.get().len() <= LONGEST {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.resize_with(PLACES, || None);
            kept[place] = Some(Kept { task: task.clone(), json: json.clone() });
        }
        json
    }
}

/// A list of them, in one piece of memory that fits: an answer that grows while it is written is copied each time.
pub(super) fn answer(list: &api::List<Arc<RawValue>>) -> Response {
    let items: usize = list.items.iter().map(|item| item.get().len() + 1).sum();
    let mut body = Vec::with_capacity(items + BESIDE_ITEMS);
    serde_json::to_writer(&mut body, list).expect("memory takes what is written");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Whether nothing differs. The wish never changes and comes from the ledger's memory of what is asked for often, so it need not
/// be compared field by field.
fn same(kept: &Task, task: &Task) -> bool {
    let Task { id, spec, created_at, status } = task;
    kept.id == *id && Arc::ptr_eq(&kept.spec, spec) && kept.created_at == *created_at && kept.status == *status
}

#[cfg(test)]
mod tests {
    use domain::task::{TaskId, TaskSpec};
    use domain::{Timestamp, Uuid};
    use serde_json::json;

    use super::*;

    fn task(id: i64) -> Task {
        let spec = TaskSpec::new(Uuid::from_u128(id.unsigned_abs().into()), "backup", "agents", Uuid::nil());
        Task::create(TaskId(id), Arc::new(spec), Timestamp::UNIX_EPOCH).expect("a task")
    }

    fn plain(task: &Task) -> String {
        serde_json::to_string(&api::Task::from(task)).expect("JSON")
    }

    #[test]
    fn a_task_is_written_once_and_again_when_anything_changed() {
        let written = Written::default();
        let first = task(7);
        let json = written.json(&first);
        assert_eq!(json.get(), plain(&first));
        assert!(Arc::ptr_eq(&json, &written.json(&first.clone())), "it was kept");

        let mut asked = first.clone();
        asked.status.cancel_requested = true;
        let mut made_later = first.clone();
        made_later.created_at = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let mut wish = (*first.spec).clone();
        wish.context = json!({"title": "another"}).into();
        let other_wish = Task { spec: Arc::new(wish), ..first.clone() };
        // At the same place.
        let other = task(7 + 4_096);
        let mut answers = vec![plain(&first)];
        for changed in [asked, made_later, other_wish, other] {
            assert_eq!(written.json(&changed).get(), plain(&changed));
            assert_eq!(written.json(&first).get(), plain(&first), "and what was before");
            assert!(!answers.contains(&plain(&changed)), "the change is seen");
            answers.push(plain(&changed));
        }
    }

    #[test]
    fn what_is_long_is_not_kept() {
        let written = Written::default();
        let mut spec = (*task(1).spec).clone();
        spec.context = json!({"title": "x".repeat(LONGEST)}).into();
        let long = Task { spec: Arc::new(spec), ..task(1) };
        assert!(!Arc::ptr_eq(&written.json(&long), &written.json(&long)));
        assert_eq!(written.json(&long).get(), plain(&long));
    }
}
