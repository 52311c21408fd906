//! The mix of questions: what consoles, pollers and reports ask a ledger for, and the vendor's own benchmark of its task
//! table (contract for Acronis clients, section 15).

use domain::query::Direction::{self, Asc, Desc};
use domain::query::{Field as _, Filter, Order, Page, Query, TaskField, Value};
use domain::task::State;

use super::ask::Ask;
use super::pool::{Pool, Whose, behind, both, contains, failed, is, since, state};

/// Rows on a page.
pub(crate) const PAGE: u32 = 100;
/// Different questions of a kind.
const VARIANTS: usize = 100;

/// Which pages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// The question as it is.
    AsIs,
    /// The first one, and the one in the middle by its number.
    FirstAndMiddle,
    /// One after the other, each from where the last one ended.
    Walk,
}

/// A kind of question.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) whose: &'static str,
    pub(crate) pages: Pages,
    pub(crate) variants: Vec<Ask>,
}

type Tasks = Filter<TaskField>;

/// The mix.
pub(crate) fn mix(pool: &mut Pool) -> Vec<Shape> {
    let mut shapes = lists(pool);
    shapes.extend(orders(pool));
    shapes.extend(counts(pool));
    shapes.extend(rest(pool));
    shapes.extend(heavy(pool));
    shapes
}

/// Lists, newest first, with totals.
fn lists(pool: &mut Pool) -> Vec<Shape> {
    use Whose::{All, Leaf, Middle};
    let newest = Order::newest();
    let mut list = |name: &str, whose: Whose, filter: &mut dyn FnMut(&mut Pool, usize) -> Tasks| {
        let variants = (0..VARIANTS).map(|n| {
            let filter = filter(pool, n);
            page(pool, whose, n, filter, &newest)
        });
        Shape {
            name: name.to_owned(),
            whose: whose.name(),
            pages: Pages::FirstAndMiddle,
            variants: distinct(variants.collect()),
        }
    };
    let completed = |filter: Tasks| both(filter, &state(State::Completed));
    vec![
        list("newest", All, &mut |_, _| Filter::all()),
        list("newest", Middle, &mut |_, _| Filter::all()),
        list("newest", Leaf, &mut |_, _| Filter::all()),
        list("of one resource", All, &mut |p, n| p.resource(n)),
        list("failed since a day", All, &mut |p, _| both(failed(), &since(TaskField::CompletedAt, p.ago(24)))),
        list("failed since 30 days", All, &mut |p, _| both(failed(), &since(TaskField::CompletedAt, p.ago(24 * 30)))),
        list("type in 4, state, result", All, &mut |p, _| completed(both(p.types(4), &p.result()))),
        list("type in 4, state, result", Middle, &mut |p, _| completed(both(p.types(4), &p.result()))),
        list("name contains (0.1 %), state", All, &mut |p, n| completed(p.named(true, n))),
        list("name contains (0.1 %), state", Middle, &mut |p, n| completed(p.named(true, n))),
        list("name contains (10 %), state", All, &mut |p, n| completed(p.named(false, n))),
        list("name contains (10 %), state", Middle, &mut |p, n| completed(p.named(false, n))),
        list("tag in 3, result", All, &mut |p, _| both(p.tags(3), &p.result())),
        list("tag in 3, result", Middle, &mut |p, _| both(p.tags(3), &p.result())),
    ]
}

/// Lists in every order that people click on, each with a filter.
fn orders(pool: &mut Pool) -> Vec<Shape> {
    use TaskField as F;
    use Whose::{All, Middle};
    let mut list = |field: F, way: Direction, whose: Whose, with: &str, filter: &mut dyn FnMut(&mut Pool) -> Tasks| {
        let order = order(field, way);
        let variants = (0..VARIANTS).map(|n| {
            let filter = filter(pool);
            page(pool, whose, n, filter, &order)
        });
        Shape {
            name: format!("by {}, {with}", field.name()),
            whose: whose.name(),
            pages: Pages::FirstAndMiddle,
            variants: distinct(variants.collect()),
        }
    };
    vec![
        list(F::CompletedAt, Desc, All, "result", &mut |p| p.result()),
        list(F::CompletedAt, Desc, Middle, "state", &mut |_| state(State::Completed)),
        list(F::StartedAt, Desc, All, "type in 2", &mut |p| p.types(2)),
        list(F::StartedAt, Desc, Middle, "type in 2", &mut |p| p.types(2)),
        list(F::UpdatedAt, Asc, All, "since 7 days", &mut |p| since(F::UpdatedAt, p.ago(24 * 7))),
        list(F::UpdatedAt, Desc, Middle, "type in 4", &mut |p| p.types(4)),
        list(F::Priority, Desc, All, "type in 4", &mut |p| p.types(4)),
        list(F::Type, Asc, All, "failed", &mut |_| failed()),
        list(F::State, Asc, All, "type in 4", &mut |p| p.types(4)),
        list(F::State, Asc, Middle, "type in 4", &mut |p| p.types(4)),
    ]
}

fn counts(pool: &mut Pool) -> Vec<Shape> {
    use TaskField as F;
    use Whose::{All, Leaf, Middle};
    let mut count = |name: &str, whose: Whose, by: &[F], filter: &mut dyn FnMut(&mut Pool) -> Tasks| {
        let variants = (0..VARIANTS).map(|n| {
            let filter = filter(pool);
            Ask::Counts(pool.scope(whose, n), filter, by.to_vec())
        });
        Shape { name: name.to_owned(), whose: whose.name(), pages: Pages::AsIs, variants: distinct(variants.collect()) }
    };
    let mut any = |_: &mut Pool| Filter::all();
    vec![
        count("counts by state", All, &[F::State], &mut any),
        count("counts by state", Middle, &[F::State], &mut any),
        count("counts by state", Leaf, &[F::State], &mut any),
        count("counts by state, result", All, &[F::State, F::Result], &mut any),
        count("counts by state, result", Middle, &[F::State, F::Result], &mut any),
        count("counts by state, result, type in 4", All, &[F::State, F::Result], &mut |p| p.types(4)),
        count("failed since a day, counts by tenant", All, &[F::Tenant], &mut |p| {
            both(failed(), &since(F::CompletedAt, p.ago(24)))
        }),
        count("failed since 30 days, counts by tenant", All, &[F::Tenant], &mut |p| {
            both(failed(), &since(F::CompletedAt, p.ago(24 * 30)))
        }),
    ]
}

/// What programs ask.
fn rest(pool: &mut Pool) -> Vec<Shape> {
    let all = Whose::All.name();
    let mut shape = |name: &str, ask: &mut dyn FnMut(&mut Pool) -> Ask| Shape {
        name: name.to_owned(),
        whose: all,
        pages: Pages::AsIs,
        variants: (0..VARIANTS).map(|_| ask(pool)).collect(),
    };
    let mut shapes = vec![
        shape("changes since a revision, 100", &mut |p| Ask::Changes(p.rev(1000), PAGE)),
        shape("one task by number", &mut |p| Ask::One(p.task(false))),
        shape("one task by uuid", &mut |p| Ask::One(p.task(true))),
    ];
    let completed = state(State::Completed);
    for (name, whose, filter, order) in [
        ("walk, newest first", Whose::All, Filter::all(), Order::newest()),
        ("walk, newest first", Whose::Middle, Filter::all(), Order::newest()),
        ("walk by completed_at, state", Whose::All, completed, order(TaskField::CompletedAt, Desc)),
    ] {
        let ask = |n| {
            let query = Query { filter: filter.clone(), order: order.clone(), page: Page::first(PAGE), total: false };
            Ask::Page(pool.scope(whose, n), query)
        };
        let variants = distinct((0..VARIANTS).map(ask).collect());
        shapes.push(Shape { name: name.to_owned(), whose: whose.name(), pages: Pages::Walk, variants });
    }
    shapes
}

/// The queries of the vendor's benchmark: one row each, no totals.
fn heavy(pool: &mut Pool) -> Vec<Shape> {
    use TaskField as F;
    let mut shape = |name: &str, whose: Whose, order: Order<F>, filter: &mut dyn FnMut(&mut Pool, usize) -> Tasks| {
        let variants = (0..VARIANTS).map(|n| {
            let query = Query { filter: filter(pool, n), order: order.clone(), page: Page::first(1), total: false };
            Ask::Page(pool.scope(whose, n), query)
        });
        Shape {
            name: format!("heavy: {name}"),
            whose: whose.name(),
            pages: Pages::AsIs,
            variants: distinct(variants.collect()),
        }
    };
    let ended = |way| order(F::CompletedAt, way);
    let completed = |filter: Tasks| both(filter, &state(State::Completed));
    let lost = |filter: Tasks| both(filter, &is(F::State, vec![Value::Enum(State::Enqueued.ordinal())]));
    vec![
        shape("last", Whose::All, Order::newest(), &mut |_, _| Filter::all()),
        shape("rand", Whose::All, Order::oldest(), &mut |p, _| behind(p.id())),
        shape("rand in tenant like", Whose::All, Order::newest(), &mut |p, n| both(p.tenant(n), &contains("a"))),
        shape("min in tenant", Whose::All, ended(Asc), &mut |p, n| p.tenant(n)),
        shape("max in tenant", Whose::All, ended(Desc), &mut |p, n| p.tenant(n)),
        shape("min in tenant and state", Whose::All, ended(Asc), &mut |p, n| completed(p.tenant(n))),
        shape("max in tenant and state", Whose::All, ended(Desc), &mut |p, n| completed(p.tenant(n))),
        shape("max in tenant and rare state", Whose::All, ended(Desc), &mut |p, n| lost(p.tenant(n))),
        shape("last in tenant", Whose::Middle, order(F::EnqueuedAt, Desc), &mut |_, _| Filter::all()),
        shape("last in tenant", Whose::Leaf, order(F::EnqueuedAt, Desc), &mut |_, _| Filter::all()),
        // The vendor asks for an entity of a type; the nearest that a task has is its own type.
        shape("last in tenant and type", Whose::Middle, order(F::EnqueuedAt, Desc), &mut |p, _| p.types(1)),
    ]
}

fn page(pool: &Pool, whose: Whose, n: usize, filter: Tasks, order: &Order<TaskField>) -> Ask {
    let query = Query { filter, order: order.clone(), page: Page::first(PAGE), total: true };
    Ask::Page(pool.scope(whose, n), query)
}

fn order(field: TaskField, way: Direction) -> Order<TaskField> {
    Order::by(vec![(field, way)]).expect("a field of one value")
}

/// Each question once, in their order.
fn distinct(asks: Vec<Ask>) -> Vec<Ask> {
    let mut seen = std::collections::HashSet::new();
    asks.into_iter().filter(|ask| seen.insert(format!("{ask:?}"))).collect()
}
