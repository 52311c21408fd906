//! Lists as they are answered: items, totals, and links to the other pages (sections 5.1 and 5.2).

use serde::Serialize;
use serde_json::{Map, Value};

use super::call::{Call, Reply, get, link};
use super::query::Paging;

/// How the vendor pages a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// By number, with totals.
    Numbered,
    /// By tokens, which are page numbers here (D22): no totals, no way back.
    Tokens,
    /// By tokens, with totals and all links.
    TokensWithTotals,
}

/// One page of a list.
pub(super) struct Listing<I> {
    pub(super) paging: Paging,
    /// The items of this page.
    pub(super) items: Vec<I>,
    /// How many there are in all.
    pub(super) total: u64,
    /// The filter that was applied, on lists that tell it.
    pub(super) filter_applied: Option<String>,
}

/// A list as it is written.
#[derive(Serialize)]
struct Body<I> {
    current_count: usize,
    limit: u64,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_pages_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_applied: Option<String>,
    _links: Map<String, Value>,
    _embedded: Embedded<I>,
}

#[derive(Serialize)]
struct Embedded<I> {
    items: Vec<I>,
}

impl Call {
    /// The answer with a page of a list.
    pub(super) fn list<I: Serialize>(&self, pages: Pages, listing: Listing<I>) -> Reply {
        let Listing { paging, items, total, filter_applied } = listing;
        let (limit, start) = (u64::from(paging.limit), paging.start);
        let last = total.div_ceil(limit.max(1));
        let mut links = Map::new();
        let mut to = |name: &str, page: u64| {
            links.insert(name.to_owned(), get(&self.params.link_to_page(&self.path(), page)));
        };
        to("_self", start);
        to("_first", 1);
        if start < last {
            to("_next", start + 1);
        }
        if pages != Pages::Tokens {
            to("_last", last.max(1));
            if start > 1 {
                to("_prev", (start - 1).min(last.max(1)));
            }
        }
        let totals = pages != Pages::Tokens;
        self.ok(Body {
            current_count: items.len(),
            limit,
            start: start.to_string(),
            total_count: totals.then_some(total),
            total_pages_count: totals.then_some(last),
            filter_applied,
            _links: links,
            _embedded: Embedded { items },
        })
    }

    /// The answer with a list that has no pages; `actions` are links beside those to itself.
    pub(super) fn whole_list(
        &self,
        items: Vec<Value>,
        filter_applied: String,
        actions: &[(&str, &str, &str)],
    ) -> Reply {
        let path = self.params.link(&self.path());
        let mut links = Map::new();
        links.insert("_self".to_owned(), get(&path));
        links.insert("_first".to_owned(), get(&path));
        for (name, href, method) in actions {
            links.insert((*name).to_owned(), link(href, method));
        }
        self.ok(Body {
            current_count: items.len(),
            limit: items.len() as u64,
            start: String::new(),
            total_count: None,
            total_pages_count: None,
            filter_applied: Some(filter_applied),
            _links: links,
            _embedded: Embedded { items },
        })
    }
}
