//! The document of the API: it is the committed one, it hangs together, and every error code has its page.

use std::path::{Path, PathBuf};

use domain::Code;
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// `cargo xtask generate` writes the file anew: it runs this with `BACKSTAY_UPDATE=1`.
#[test]
fn openapi_is_committed() {
    let path = docs().join("openapi.json");
    let document = server::dialects::native::openapi();
    if std::env::var_os("BACKSTAY_UPDATE").is_some_and(|v| v == "1") {
        std::fs::write(&path, &document).expect("writes");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == document,
        "docs/openapi.json is not what the handlers say; run `cargo xtask generate` and commit it"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
        }
        match value {
            Value::Array(items) => items.iter().for_each(|v| walk(v, document)),
            Value::Object(map) => map.values().for_each(|v| walk(v, document)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&server::dialects::native::openapi()).expect("JSON");
    walk(&document, &document);
    assert!(!document.to_string().contains("\"null\""), "an unset field is absent, never null");
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = docs().join("errors");
    for code in Code::ALL {
        let name = code.name();
        let page = std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {name}\n")), "docs/errors/{name}.md is missing or has another title");
        let example = page.split("```json\n").nth(1).and_then(|s| s.split("```").next()).unwrap_or_default();
        let example: api::ErrorBody = serde_json::from_str(example).unwrap_or_else(|e| panic!("{name}.md: {e}"));
        assert_eq!(example.error.code, name, "the example of {name}.md");
    }
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let known = name.strip_suffix(".md").is_some_and(|n| n == "README" || Code::parse(n).is_some());
        assert!(known, "docs/errors/{name} belongs to no code");
    }
}
