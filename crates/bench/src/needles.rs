//! Parts of names that a given share of all tasks has, found by counting: what people type into a search box.

use domain::query::fold;

use crate::generate::Needle;
use crate::random::Random;

/// How many parts of names are tried, on how many names, and how many of them are then counted on all.
const TRIED: usize = 600;
const TRIED_ON: usize = 4000;
const COUNTED: usize = 24;
/// How many are given.
const GIVEN: usize = 6;
/// The shortest and the longest part.
const SHORTEST: usize = 2;
const LONGEST: usize = 9;

/// The parts of these names, each with the number of its tasks, that are nearest to this share of all tasks.
pub(crate) fn nearest(share: f64, seed: u64, names: Vec<(&str, u64)>) -> Vec<Needle> {
    let mut random = Random::new(seed ^ 0x6e65_6564_6c65);
    let names: Vec<_> = names.into_iter().map(|(name, tasks)| (fold(name), tasks)).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let some: Vec<_> = (0..TRIED_ON.min(names.len() * 4)).map(|_| random.pick(&names).clone()).collect();
    let mut tried: Vec<String> = (0..TRIED).filter_map(|_| part(&some, &mut random)).collect();
    tried.sort_unstable();
    tried.dedup();
    let mut first = by_distance(tried, share, &some);
    first.truncate(COUNTED);
    let mut exact = by_distance(first.into_iter().map(|n| n.text).collect(), share, &names);
    exact.truncate(GIVEN);
    exact
}

fn part(names: &[(String, u64)], random: &mut Random) -> Option<String> {
    let (name, _) = random.pick(names);
    let length = SHORTEST + random.below(LONGEST - SHORTEST + 1);
    let from = random.below(name.len().saturating_sub(length) + 1);
    // Names are ASCII; elsewhere a part that begins or ends within a letter is none.
    name.get(from..from + length).map(str::to_owned)
}

fn by_distance(parts: Vec<String>, share: f64, names: &[(String, u64)]) -> Vec<Needle> {
    let all: u64 = names.iter().map(|(_, tasks)| tasks).sum();
    let wanted = (all as f64 * share).max(1.0);
    let count = |text: &str| names.iter().filter(|(name, _)| name.contains(text)).map(|(_, tasks)| tasks).sum();
    let mut counted: Vec<_> =
        parts.into_iter().map(|text| Needle { tasks: count(&text), text }).filter(|n| n.tasks > 0).collect();
    let distance = |n: &Needle| (n.tasks as f64 / wanted).ln().abs();
    counted.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_about_the_share_that_is_wanted() {
        let names: Vec<String> = (0..5000).map(|n| format!("web-{n:04}.example")).collect();
        let names: Vec<_> = names.iter().map(|n| (n.as_str(), 3)).collect();
        for share in [0.001, 0.1] {
            let best = nearest(share, 5, names.clone()).swap_remove(0);
            let found = names.iter().filter(|(n, _)| n.contains(&best.text)).count() as u64 * 3;
            assert_eq!(best.tasks, found);
            assert!((0.5..2.0).contains(&(found as f64 / 15_000.0 / share)), "{best:?} for {share}");
        }
        assert!(nearest(0.1, 5, Vec::new()).is_empty());
    }
}
