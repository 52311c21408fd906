//! What came out, as a table for people and as JSON for programs.

use serde::Serialize;

use crate::answer::Api;
use crate::generate::Manifest;

/// How one API answered one question.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// How often it was asked.
    pub requests: usize,
    /// The time that half of the answers kept, in milliseconds.
    pub p50_ms: f64,
    /// The time that 99 of 100 answers kept, in milliseconds.
    pub p99_ms: f64,
    /// Requests a second, with all callers together.
    pub per_second: f64,
    /// Bytes of an answer on the average.
    pub bytes: usize,
}

/// How a way into a dialect answered a question that the native API was asked, too.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Its answers.
    #[serde(flatten)]
    pub stats: Stats,
    /// Its time at p50 divided by the native API's.
    pub ratio_p50: Option<f64>,
    /// The native API's requests a second divided by its own: the time of a request on the average.
    pub ratio_rate: Option<f64>,
}

/// How the APIs answered one question, those that have it.
pub(crate) struct Answers {
    pub(crate) native: Option<Stats>,
    pub(crate) acronis: Option<Stats>,
    pub(crate) yandex_grpc: Option<Stats>,
    pub(crate) yandex_rest: Option<Stats>,
    pub(crate) clumio: Option<Stats>,
    pub(crate) openstack: Option<Stats>,
    pub(crate) ready: Option<Stats>,
}

/// How the APIs answered one question.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The question.
    pub question: String,
    /// The part of the tree that the token opens: `root`, `middle` or `leaf`.
    pub token: String,
    /// How many asked at once.
    pub callers: usize,
    /// Rows in the largest answer.
    pub rows: usize,
    /// The native API's answers.
    pub native: Option<Stats>,
    /// The Acronis dialect's answers.
    pub acronis: Option<Stats>,
    /// The Yandex dialect's answers over gRPC.
    pub yandex_grpc: Option<Beside>,
    /// The Yandex dialect's answers over REST.
    pub yandex_rest: Option<Beside>,
    /// The Clumio dialect's answers.
    pub clumio: Option<Beside>,
    /// The OpenStack dialect's answers.
    pub openstack: Option<Beside>,
    /// The native API's bytes, held in memory and given out by a server that does nothing else.
    pub ready: Option<Stats>,
    /// The Acronis dialect's time at p50 divided by the native API's.
    pub ratio_p50: Option<f64>,
    /// The native API's requests a second divided by the Acronis dialect's: the time of a request on the average.
    pub ratio_rate: Option<f64>,
    /// The native API's requests a second divided by those that can be given out ready.
    pub share_of_ready: Option<f64>,
}

impl Line {
    pub(crate) fn new(question: &str, token: &str, callers: usize, rows: usize, answers: Answers) -> Line {
        let Answers { native, acronis, yandex_grpc, yandex_rest, clumio, openstack, ready } = answers;
        let beside = |stats: Option<Stats>| stats.map(|stats| Beside::new(stats, native.as_ref()));
        let acronis = beside(acronis);
        Line {
            question: question.to_owned(),
            token: token.to_owned(),
            callers,
            rows,
            ratio_p50: acronis.as_ref().and_then(|a| a.ratio_p50),
            ratio_rate: acronis.as_ref().and_then(|a| a.ratio_rate),
            acronis: acronis.map(|a| a.stats),
            yandex_grpc: beside(yandex_grpc),
            yandex_rest: beside(yandex_rest),
            clumio: beside(clumio),
            openstack: beside(openstack),
            share_of_ready: native.as_ref().zip(ready.as_ref()).map(|(n, r)| n.per_second / r.per_second),
            native,
            ready,
        }
    }
}

impl Beside {
    fn new(stats: Stats, native: Option<&Stats>) -> Beside {
        Beside {
            ratio_p50: native.map(|n| stats.p50_ms / n.p50_ms),
            ratio_rate: native.map(|n| n.per_second / stats.per_second),
            stats,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: String,
    /// Whether it was built for speed.
    pub optimised: bool,
    /// Processors that the program may use.
    pub processors: usize,
    /// The ledger.
    pub ledger: Manifest,
    /// How long the server took to open it, in seconds, where it was started here.
    pub open_seconds: Option<f64>,
    /// The answers.
    pub lines: Vec<Line>,
}

impl Report {
    /// The names of the columns of [`Report::rows`].
    pub const HEADER: [&'static str; 13] = [
        "QUERY",
        "TOKEN",
        "CALLERS",
        "API",
        "ROWS",
        "KB",
        "REQUESTS",
        "P50 ms",
        "P99 ms",
        "REQ/S",
        "P50 RATIO",
        "REQ/S RATIO",
        "OF READY",
    ];

    /// A row for each question, API and number of callers. Both ratios are times of the dialect divided by those of the
    /// native API: at p50, and of a request on the average. What comes last is the native API's requests a second divided
    /// by those of the same bytes held ready.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for line in &self.lines {
            let of_ready = [None, None, line.share_of_ready];
            let ratios = |beside: &Option<Beside>| match beside {
                Some(beside) => [beside.ratio_p50, beside.ratio_rate, None],
                None => [None; 3],
            };
            let apis = [
                (Api::Native.name(), line.native.as_ref(), of_ready),
                (Api::Acronis.name(), line.acronis.as_ref(), [line.ratio_p50, line.ratio_rate, None]),
                (Api::Grpc.name(), line.yandex_grpc.as_ref().map(|b| &b.stats), ratios(&line.yandex_grpc)),
                (Api::Rest.name(), line.yandex_rest.as_ref().map(|b| &b.stats), ratios(&line.yandex_rest)),
                (Api::Clumio.name(), line.clumio.as_ref().map(|b| &b.stats), ratios(&line.clumio)),
                (Api::OpenStack.name(), line.openstack.as_ref().map(|b| &b.stats), ratios(&line.openstack)),
                ("ready", line.ready.as_ref(), [None; 3]),
            ];
            for (api, stats, ratios) in apis {
                let Some(stats) = stats else { continue };
                let [p50, rate, of_ready] = ratios.map(|r| r.map_or_else(String::new, |r| format!("{r:.2}")));
                rows.push(vec![
                    line.question.clone(),
                    line.token.clone(),
                    line.callers.to_string(),
                    api.to_owned(),
                    line.rows.to_string(),
                    stats.bytes.div_ceil(1000).to_string(),
                    stats.requests.to_string(),
                    format!("{:.2}", stats.p50_ms),
                    format!("{:.2}", stats.p99_ms),
                    format!("{:.0}", stats.per_second),
                    p50,
                    rate,
                    of_ready,
                ]);
            }
        }
        rows
    }
}
