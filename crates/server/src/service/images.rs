//! Images: resources that imports make. One is there as soon as its import is asked for, and is gone when that ends without
//! one: nothing would ever come of it, and its name would stand in the way of the next try.

use domain::query::{Filter, MAX_LIMIT, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::resource::{Resource, ResourceKind};
use domain::task::{State, Task, kind};
use domain::{Caller, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::Service;
use super::agents::{ATTEMPTS, came_between};

impl Service {
    /// Images that match and of which `keep` says so, in the order of the query. What only the record itself says, as its
    /// size, is for `keep`; there are few images, so what it leaves out costs little.
    ///
    /// # Errors
    /// `forbidden` below viewer, and those of the ledger.
    pub async fn images(
        &self,
        caller: &Caller,
        query: Query<RecordField>,
        keep: impl Fn(&Resource) -> bool + Send,
    ) -> Result<Vec<Resource>> {
        let scope = caller.may(Right::View)?;
        let wanted = query.page.limit() as usize;
        let mut query = Query { filter: there(query.filter)?, ..query };
        let mut images = Vec::new();
        loop {
            let slice = self.ledger.list::<Resource>(scope, &query).await?;
            let left = wanted - images.len();
            images.extend(slice.items.into_iter().map(|image| image.value).filter(&keep).take(left));
            match slice.next {
                Some(key) if images.len() < wanted => {
                    query.page = Page::After { key: Some(key), limit: MAX_LIMIT };
                }
                _ => return Ok(images),
            }
        }
    }

    /// One image.
    ///
    /// # Errors
    /// `not_found`, also for a resource that is none.
    pub async fn image(&self, caller: &Caller, id: Uuid) -> Result<Resource> {
        let image = self.live_resource(caller.may(Right::View)?, id).await?;
        if image.kind == ResourceKind::Image { Ok(image) } else { Err(Error::not_found("image", id)) }
    }

    /// Takes out the image of an import that has ended without one. Part of `note_ends`.
    pub(super) async fn import_ended(&self, task: &Task) -> Result<()> {
        let everything = Scope::everything();
        let image = task.spec.resource.as_ref().and_then(|named| Uuid::parse_str(&named.id).ok());
        let Some(id) = image else { return Ok(()) };
        let mut attempts = 0..ATTEMPTS;
        loop {
            let Some(Stored { rev, value: image }) = if_found(self.ledger.get::<Resource>(&everything, id).await)?
            else {
                return Ok(());
            };
            if image.deleted_at.is_some() || !is_missing(&image) {
                return Ok(());
            }
            let record = image.unregistered(self.moment().now).into();
            let entry = self.audit(&Caller::server(), "delete", &record);
            let writes = vec![Write::Put(Box::new(record), Expect::Rev(rev)), entry];
            match self.ledger.commit(&everything, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => return other.map(drop),
            }
        }
    }

    /// Looks for images whose import ended and was not heard of.
    pub(super) async fn look_for_ended_imports(&self) -> Result<()> {
        let everything = Scope::everything();
        let images = self.ledger.all::<Resource>(&everything, there(Filter::all())?).await?;
        let missing: Vec<Uuid> = images.iter().map(|i| &i.value).filter(|i| is_missing(i)).map(|i| i.id).collect();
        let imports = Test::AnyOf(vec![Pattern::Is(Value::Text(kind::IMPORT.to_owned()))]);
        let imports = Filter::all().and(TaskField::Type, imports)?;
        for ids in missing.chunks(MAX_LIMIT as usize) {
            for task in self.ledger.newest_of_each(&everything, ids, &imports).await? {
                if task.state() == State::Completed {
                    self.import_ended(&task).await?;
                }
            }
        }
        Ok(())
    }
}

/// Of these, the images that are not deleted.
fn there(filter: Filter<RecordField>) -> Result<Filter<RecordField>> {
    filter
        .is(RecordField::Kind, Value::Text(ResourceKind::Image.name().to_owned()))?
        .and(RecordField::EndedAt, Test::Absent)
}

/// Whether an image has no data yet.
fn is_missing(image: &Resource) -> bool {
    image.kind == ResourceKind::Image && image.last_backup_at.is_none()
}
