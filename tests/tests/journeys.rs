//! The journeys under `tests/journeys`: documents that are true because they run. How to write one stands in
//! `acceptance::journey`.

use std::path::Path;

macro_rules! journeys {
    ($($name:ident = $file:literal;)+) => {
        $(
            #[test]
            fn $name() {
                acceptance::journey::run(&folder().join($file));
            }
        )+

        #[test]
        fn every_journey_runs() {
            let mut files: Vec<_> = std::fs::read_dir(folder())
                .expect("the journeys")
                .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            files.sort();
            let mut named = vec![$($file.to_owned()),+];
            named.sort();
            assert_eq!(files, named);
        }
    };
}

journeys! {
    first_steps = "first-steps.md";
    a_policys_life = "a-policys-life.md";
    tokens_and_roles = "tokens-and-roles.md";
    the_rest_api = "the-rest-api.md";
    watching = "watching.md";
    people_programs_and_keys = "people-programs-and-keys.md";
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/journeys"))
}
