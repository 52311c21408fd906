//! What the words of a list mean.

use domain::query::Order;

use super::super::params::Params;
use super::list::Wish;
use super::*;

fn wish(query: &str) -> Result<Wish, String> {
    let params = Params::read(query).expect("readable");
    Wish::read(&params).map_err(|refusal| format!("{refusal:?}"))
}

fn refused(query: &str) -> String {
    wish(query).expect_err(query)
}

#[test]
fn limits_are_cut_and_wrong_ones_told() {
    let limit = |query: &str| wish(query).expect("a wish").limit;
    assert_eq!((limit(""), limit("limit=0"), limit("limit=7"), limit("limit=1001")), (25, 0, 7, 1000));
    assert_eq!(limit("limit=99999999999999999999999"), 1000);
    assert_eq!(limit("limit=5&limit=6"), 6, "the last counts");
    assert!(refused("limit=-1").contains("limit param must be positive"));
    for query in ["limit=", "limit=x", "limit=1.5", "limit=-"] {
        assert!(refused(query).contains("limit param must be an integer"), "{query}");
    }
}

#[test]
fn orders_and_their_refusals() {
    assert_eq!(wish("").expect("a wish").order, Order::newest());
    assert_eq!(wish("sort_dir=asc").expect("a wish").order, Order::oldest());
    assert_eq!(wish("sort=status:asc").expect("a wish").order, Order::newest(), "ignored");
    for key in ["created_at", "updated_at", "expires_at", "id", "type", "status", "owner"] {
        assert!(wish(&format!("sort_key={key}")).is_ok(), "{key}");
    }
    for key in ["", "info", "input", "name", "Status"] {
        assert!(refused(&format!("sort_key={key}")).contains("Sort key supplied was not valid."), "{key}");
    }
    assert!(refused("sort_dir=ASC").contains("Invalid sort direction: ASC"));
    assert!(refused("sort_dir=").contains("Invalid sort direction: "));
}

#[test]
fn values_of_filters() {
    assert!(wish("status=").expect("a wish").nothing && wish("type=").expect("a wish").nothing);
    assert!(wish("owner=nobody").expect("a wish").nothing);
    assert!(!wish("status=in:pending,failure&x=y").expect("a wish").nothing);
    assert!(refused("status=Pending").contains("Invalid status value: Pending"));
    assert!(refused("status=in:pending,none").contains("Invalid status value: none"));
    assert!(refused("created_at=yesterday").contains("created_at"));
    assert!(wish("updated_at=gte:2026-11-21T09:30:00").is_ok());
    assert!(refused("marker=1").contains("Invalid marker format"));
    assert!(wish("marker=CBC36478-B0BD-8E67-E894-69C7749D4127").is_ok());
}

#[test]
fn minor_versions_are_the_same_and_others_are_unknown() {
    for version in ["v2", "v2.0", "v2.15", "v2.17"] {
        assert!(is_known(version), "{version}");
    }
    for version in ["", "v1", "v2.18", "v2.", "v2.x", "v3", "v20"] {
        assert!(!is_known(version), "{version}");
    }
}

#[test]
fn only_who_names_json_gets_it() {
    let form = |accept: &'static str| {
        let headers =
            axum::http::HeaderMap::from_iter([(axum::http::header::ACCEPT, HeaderValue::from_static(accept))]);
        Form::wished(&headers)
    };
    assert_eq!((form("application/json"), form("*/*"), form("text/plain")), (Form::Json, Form::Page, Form::Text));
    assert_eq!((form("text/html, application/json;q=0.9"), form("application/*")), (Form::Json, Form::Page));
    assert_eq!((form("application/json;q=0"), form("text/plain, text/html")), (Form::Page, Form::Page));
    assert_eq!(Form::wished(&axum::http::HeaderMap::new()), Form::Page);
}
