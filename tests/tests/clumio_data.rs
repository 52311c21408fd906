//! A script over the Clumio API against a real server with real files: environments, volumes, a backup, restores whose bytes
//! are compared, files that are fetched (tests/clients/clumio/bulk.py).

use std::fs;
use std::path::Path;

use acceptance::Place;
use acceptance::place::said;
use api::client::ListQuery;
use serde_json::json;

#[tokio::test]
async fn a_script_backs_up_restores_and_fetches_files() {
    let place = Place::new();
    let data = place.folder("data");
    fs::create_dir_all(data.join("sub")).expect("a folder");
    let mut tree = serde_json::Map::new();
    for (name, text) in [("letter", "Dear all\n"), ("sub/b\u{fc}cher, alt.txt", "Moby Dick\n")] {
        let path = data.join(name);
        fs::write(&path, text).expect("a file");
        tree.insert(path.to_str().expect("a path in UTF-8").to_owned(), json!(text));
    }
    let elsewhere = place.folder("elsewhere");
    let up = place.up().protect(&data).restoring_below(&elsewhere).reached_as_localhost().start();
    let resource = up.client().resources(&ListQuery::new()).await.expect("resources").items.remove(0);
    let (_, port) = up.ready().tls.rsplit_once(':').expect("an address with a port");
    let probe = json!({
        "endpoint": format!("localhost:{port}"),
        "ca": up.ready().ca_file,
        "token": up.ready().admin_token,
        "data": data,
        "tree": tree,
        "volume": resource.name,
        "restored": place.data().join("restored"),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/clumio/bulk.py");
    let mut python = place.command("python3");
    python.env("PROBE", probe.to_string()).env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    let ran = said(&mut python).good();
    assert_eq!(ran.out.lines().filter(|l| l.ends_with(": ok")).count(), 7, "{ran}");
}
