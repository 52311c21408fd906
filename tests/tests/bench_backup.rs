//! `backstay bench backup` at a small size: everything is measured, for the engine, for `restic` and for a service.

use acceptance::Place;
use serde_json::Value;

#[test]
fn a_small_tree_is_measured_and_nothing_stays_behind() {
    let place = Place::new();
    let below = place.folder("below");
    let bench = ["bench", "backup", "--megabytes", "2", "--rounds", "1", "--json", "--below"];
    let said = place.cli(&[&bench[..], &[below.to_str().expect("UTF-8")]].concat()).good();
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(report["tree"]["files"].as_u64().is_some_and(|files| files > 20), "{said}");
    let lines = report["lines"].as_array().expect("lines");
    let steps: Vec<_> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
    assert_eq!(steps, ["first", "unchanged", "changed", "restore"]);
    for line in lines {
        for who in ["engine", "restic"] {
            let taken = &line[who][0];
            assert!(taken["cpu_seconds"].as_f64().is_some_and(|s| s > 0.0), "{who}: {line}");
            assert!(taken["wall_seconds"].as_f64().is_some_and(|s| s > 0.0), "{who}: {line}");
            assert!(taken["resident_bytes"].as_u64().is_some_and(|b| b > 1 << 20), "{who}: {line}");
        }
        let backups = matches!(line["step"].as_str(), Some("first" | "unchanged"));
        assert_eq!(line["service"].as_array().map(Vec::len), Some(usize::from(backups)), "{line}");
    }
    assert_eq!(std::fs::read_dir(&below).expect("a folder").count(), 0);

    let missing = place.cli(&["bench", "backup", "--megabytes", "1", "--restic", "/no/restic"]).failed(1);
    assert!(missing.err.contains("/no/restic cannot be started"), "{missing}");
}
