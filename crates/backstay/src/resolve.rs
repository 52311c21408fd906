//! What people call things: an id, the beginning of one that is unique, or an exact name that is unique.

use anyhow::Result;
use api::client::{self, Client, ListQuery};
use api::{
    Agent, ApiClient, Backup, List, NotificationChannel, Policy, Repository, Resource, SigningKey, Tenant, Token, User,
};
use domain::{Code, Uuid};

use crate::output::short_ids;
use crate::problem::{Exit, Problem};

/// The fewest digits that count as the beginning of an id; shorter ones are names.
const SHORTEST_PREFIX: usize = 4;
/// From here on the beginning of an id is as good as unique: it holds the time to the millisecond.
const SURE_PREFIX: usize = 13;
/// How many parts of a list are searched for the beginning of an id, at 1000 items each.
const MAX_PARTS: usize = 20;
/// How many candidates an ambiguous name lists.
const SHOWN: usize = 10;

/// A sort of thing that can be named.
pub(crate) trait Thing: Sized {
    /// The word for it.
    const NOUN: &str;
    /// The command that shows which there are.
    const LIST: &str;
    /// The filter of its list that takes an exact name; none where there are no names.
    const NAMED_BY: Option<&str> = Some("name");

    fn id(&self) -> Uuid;
    /// What tells it from others of its sort.
    fn shown(&self) -> &str;
    async fn list(client: &Client, query: &ListQuery) -> client::Result<List<Self>>;
}

macro_rules! things {
    ($($type:ident $method:ident $noun:literal $list:literal $name:ident $($named_by:expr)?;)+) => {
        $(impl Thing for $type {
            const NOUN: &str = $noun;
            const LIST: &str = $list;
            $(const NAMED_BY: Option<&str> = $named_by;)?

            fn id(&self) -> Uuid {
                self.id
            }

            fn shown(&self) -> &str {
                &self.$name
            }

            async fn list(client: &Client, query: &ListQuery) -> client::Result<List<Self>> {
                client.$method(query).await
            }
        })+
    };
}

things! {
    Resource resources "resource" "resource list" name;
    Policy policies "policy" "policy list" name;
    Agent agents "agent" "agent list" name;
    Tenant tenants "tenant" "tenant list" name;
    Token tokens "token" "token list" name;
    User users "user" "user list" login Some("login");
    ApiClient clients "client" "client list" name;
    SigningKey signing_keys "key" "key list" algorithm None;
    Repository repositories "repository" "repository list" name;
    NotificationChannel notification_channels "channel" "notify list" name;
    Backup backups "backup" "backup list" resource_name;
}

/// The one thing of this sort that the text names.
///
/// # Errors
/// When there is none, or several; then the candidates are listed.
pub(crate) async fn one<T: Thing>(client: &Client, text: &str) -> Result<T> {
    if let Ok(id) = text.parse::<Uuid>() {
        let found = T::list(client, &ListQuery::new().filter("id", id)).await?.items;
        if let Some(thing) = found.into_iter().next() {
            return Ok(thing);
        }
    }
    if let Some(field) = T::NAMED_BY {
        let named = T::list(client, &ListQuery::new().exact(field, text).limit(1000)).await?.items;
        if !named.is_empty() {
            return only(text, named);
        }
    }
    let begun = match prefix(text) {
        Some(prefix) => beginning_with(client, &prefix).await?,
        None => Vec::new(),
    };
    only(text, begun)
}

/// The same for what may be left out.
///
/// # Errors
/// As [`one`].
pub(crate) async fn maybe<T: Thing>(client: &Client, text: Option<&str>) -> Result<Option<T>> {
    match text {
        Some(text) => one(client, text).await.map(Some),
        None => Ok(None),
    }
}

/// A backup: by id, the beginning of one, or `latest:RESOURCE`.
///
/// # Errors
/// As [`one`], and when the resource has no backup.
pub(crate) async fn backup(client: &Client, text: &str) -> Result<Backup> {
    let Some(resource) = text.strip_prefix("latest:") else { return one_backup(client, text).await };
    let resource: Resource = one(client, resource).await?;
    let query = ListQuery::new().filter("resource", resource.id).order("-created_at").limit(1);
    let latest = client.backups(&query).await?.items.into_iter().next();
    latest.ok_or_else(|| {
        Problem::new(Exit::NotFound, format!("there is no backup of '{}' yet", resource.name))
            .hint("run a policy for it: `backstay policy run POLICY --resource RESOURCE`")
            .code(Code::NotFound)
            .into()
    })
}

/// Several backups carry one name, so a name that is no id is refused with the way to the latest.
async fn one_backup(client: &Client, text: &str) -> Result<Backup> {
    if let Ok(id) = text.parse::<Uuid>() {
        return Ok(client.backup(id).await?);
    }
    match prefix(text) {
        Some(prefix) => only(text, beginning_with(client, &prefix).await?),
        None => Err(not_found::<Backup>(text)
            .hint(format!("for the latest backup of a resource write latest:{text}; `backstay backup list` shows all"))
            .into()),
    }
}

/// What to give a task filter for a resource or policy: a name or id is the server's to compare, because tasks keep those
/// of things that are gone; the beginning of an id is looked up first.
///
/// # Errors
/// When the beginning is that of several.
pub(crate) async fn filter_value<T: Thing>(client: &Client, text: &str) -> Result<String> {
    if text.parse::<Uuid>().is_ok() || prefix(text).is_none() {
        return Ok(text.to_owned());
    }
    match one::<T>(client, text).await {
        Ok(thing) => Ok(thing.id().to_string()),
        Err(e) if e.downcast_ref::<Problem>().is_some_and(|p| p.exit == Exit::NotFound) => Ok(text.to_owned()),
        Err(e) => Err(e),
    }
}

async fn beginning_with<T: Thing>(client: &Client, prefix: &str) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut query = ListQuery::new().limit(1000);
    for _ in 0..MAX_PARTS {
        let list = T::list(client, &query).await?;
        found.extend(list.items.into_iter().filter(|t| begins(t.id(), prefix)));
        match list.next {
            Some(next) => query = ListQuery::new().limit(1000).cursor(&next),
            None => return Ok(found),
        }
    }
    if prefix.len() >= SURE_PREFIX && !found.is_empty() {
        return Ok(found);
    }
    Err(Problem::new(Exit::Failure, format!("there are too many {} to look for '{prefix}'", plural(T::NOUN)))
        .hint("give the whole id")
        .into())
}

/// The text as the beginning of an id in lower case, if it can be one.
fn prefix(text: &str) -> Option<String> {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let all = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (all && (SHORTEST_PREFIX..=32).contains(&digits)).then(|| text.to_ascii_lowercase())
}

fn begins(id: Uuid, prefix: &str) -> bool {
    id.hyphenated().to_string().starts_with(prefix) || id.simple().to_string().starts_with(prefix)
}

fn only<T: Thing>(text: &str, mut found: Vec<T>) -> Result<T> {
    match found.len() {
        0 => Err(not_found::<T>(text).hint(format!("`backstay {}` shows which there are", T::LIST)).into()),
        1 => Ok(found.remove(0)),
        n => {
            let ids: Vec<_> = found.iter().map(Thing::id).collect();
            let shown = short_ids(&ids).into_iter().zip(&found).take(SHOWN);
            let mut names: Vec<_> = shown.map(|(id, thing)| format!("{id} ({})", thing.shown())).collect();
            if n > SHOWN {
                names.push(format!("{} more", n - SHOWN));
            }
            let message = format!("'{text}' may be any of {n} {}", plural(T::NOUN));
            Err(Problem::new(Exit::Failure, message).hint(format!("name it by its id: {}", names.join(", "))).into())
        }
    }
}

fn plural(noun: &str) -> String {
    noun.strip_suffix('y').map_or_else(|| format!("{noun}s"), |stem| format!("{stem}ies"))
}

fn not_found<T: Thing>(text: &str) -> Problem {
    Problem::from(domain::Error::not_found(T::NOUN, text))
}

/// A task's number or uuid, for clap.
pub(crate) fn task_id(text: &str) -> Result<String, String> {
    let number = text.parse::<i64>().is_ok_and(|n| n > 0);
    if number || text.parse::<Uuid>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected the number of a task, like 12, or its uuid".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pet(Uuid, &'static str);

    impl Thing for Pet {
        const NOUN: &str = "policy";
        const LIST: &str = "policy list";

        fn id(&self) -> Uuid {
            self.0
        }

        fn shown(&self) -> &str {
            self.1
        }

        async fn list(_: &Client, _: &ListQuery) -> client::Result<List<Self>> {
            Ok(List { items: Vec::new(), next: None, total: None, page: None, pages: None })
        }
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(0x0193_a4b2_7c11_7000_8000_0000_0000_0000 + n)
    }

    fn problem<T>(result: Result<T>) -> Problem {
        result.err().and_then(|e| e.downcast_ref::<Problem>().cloned()).expect("a problem")
    }

    #[test]
    fn beginnings_of_ids() {
        assert_eq!(prefix("0193A4B2-7c11").as_deref(), Some("0193a4b2-7c11"));
        assert_eq!(prefix("019"), None, "too short");
        assert_eq!(prefix("-----"), None);
        assert_eq!(prefix("café"), None);
        assert_eq!(prefix("home"), None);
        assert!(begins(id(1), "0193a4b2-7c11"));
        assert!(begins(id(1), "0193a4b27c11"));
        assert!(!begins(id(1), "93a4"));
    }

    #[test]
    fn one_is_taken() {
        assert_eq!(only("x", vec![Pet(id(1), "x")]).expect("one").0, id(1));
    }

    #[test]
    fn none_is_told_with_the_command_that_lists() {
        let p = problem(only("x", Vec::<Pet>::new()));
        assert_eq!((p.exit, p.message.as_str()), (Exit::NotFound, "there is no policy 'x'"));
        assert_eq!(p.hint.as_deref(), Some("`backstay policy list` shows which there are"));
    }

    #[test]
    fn several_are_listed() {
        let p = problem(only("x", vec![Pet(id(1), "x"), Pet(id(2), "x")]));
        assert_eq!(p.message, "'x' may be any of 2 policies");
        assert_eq!(
            p.hint.as_deref(),
            Some(
                "name it by its id: 0193a4b2-7c11-7000-8000-000000000001 (x), 0193a4b2-7c11-7000-8000-000000000002 (x)"
            )
        );
        let p = problem(only("x", (0..12).map(|n| Pet(id(n << 64), "x")).collect()));
        assert!(p.hint.is_some_and(|h| h.ends_with(", 2 more")), "the list is cut");
    }

    #[test]
    fn tasks_have_numbers_or_uuids() {
        assert!(task_id("12").is_ok() && task_id("0193a4b2-7c11-7000-8000-000000000001").is_ok());
        assert!(task_id("0").is_err() && task_id("-1").is_err() && task_id("home").is_err());
    }
}
