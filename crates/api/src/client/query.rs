//! The question to a list: filters, order and page as the parameters of the URL. What they may be is the server's to
//! say, so that a client needs no new version for a new filter.

/// The parameters of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    pairs: Vec<(String, String)>,
}

impl ListQuery {
    /// Everything, in the list's own order.
    #[must_use]
    pub fn new() -> ListQuery {
        ListQuery::default()
    }

    /// Only what has this value in this field. The same field again means: or this value. Commas in the value separate
    /// several values; [`ListQuery::exact`] takes them literally.
    #[must_use]
    pub fn filter(mut self, field: &str, value: impl ToString) -> ListQuery {
        self.pairs.push((field.to_owned(), value.to_string()));
        self
    }

    /// Only what has exactly this text in this field, commas included.
    #[must_use]
    pub fn exact(self, field: &str, text: &str) -> ListQuery {
        let text = text.replace(',', "\\,");
        self.filter(field, text)
    }

    /// Like [`ListQuery::filter`], where there is a value.
    #[must_use]
    pub fn maybe(self, field: &str, value: Option<impl ToString>) -> ListQuery {
        match value {
            Some(value) => self.filter(field, value),
            None => self,
        }
    }

    /// In this order, like `-created_at,id`.
    #[must_use]
    pub fn order(self, order: &str) -> ListQuery {
        self.filter("order", order)
    }

    /// At most so many items, from 1 to 1000.
    #[must_use]
    pub fn limit(self, limit: u32) -> ListQuery {
        self.filter("limit", limit)
    }

    /// The part after the one that came with this `next`.
    #[must_use]
    pub fn cursor(self, cursor: &str) -> ListQuery {
        self.filter("cursor", cursor)
    }

    /// The page of this number, from 1, with exact totals.
    #[must_use]
    pub fn page(self, page: u64) -> ListQuery {
        self.filter("page", page)
    }

    /// Also the exact number of all items.
    #[must_use]
    pub fn total(self) -> ListQuery {
        self.filter("total", true)
    }

    /// The parameters.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}
