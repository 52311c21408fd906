//! Asking: the same question to both APIs in turn, and to a server that holds the answer ready, so that whatever else
//! the machine does hits all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Api};
use crate::question::{Holds, Question, WALK_PAGES, Who};
use crate::ready::Ready;
use crate::report::{Line, Stats};

/// Longer than any answer may take; the shortest patience that was seen in a client is 30 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// Requests of each caller in one go, when several ask at once: then it is the other API's turn.
const IN_ONE_GO: usize = 3;

/// How long a question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At most so many requests to each API.
    pub requests: usize,
    /// At most this long to each API.
    pub time: Duration,
}

/// A server that is asked, with a token for each part of the tree.
pub(crate) struct Driver {
    http: reqwest::Client,
    base: String,
    tokens: Vec<(Who, HeaderValue)>,
    /// To be revoked at the end.
    ids: Vec<String>,
    admin: HeaderValue,
    ready: Ready,
}

/// Time of each request, and of all together.
#[derive(Default)]
struct Samples {
    each: Vec<Duration>,
    busy: Duration,
    bytes: usize,
}

impl Driver {
    /// Makes tokens for these parts of the tree.
    pub(crate) async fn connect(base: &str, admin: &str, tenants: [(Who, domain::Uuid); 3]) -> Result<Driver> {
        let http = reqwest::Client::builder().http1_only().timeout(PATIENCE).build()?;
        let base = base.trim_end_matches('/').to_owned();
        let (admin, ready) = (bearer(admin)?, Ready::start().await?);
        let mut driver = Driver { http, base, tokens: Vec::new(), ids: Vec::new(), admin, ready };
        for (who, tenant) in tenants {
            let body = json!({ "name": format!("benchmark, {}", who.name()), "role": "viewer", "tenant": tenant });
            let request = driver.http.post(format!("{}/api/v1/tokens", driver.base));
            let answer = request.header(AUTHORIZATION, driver.admin.clone()).json(&body).send().await?;
            let status = answer.status();
            let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
            let (Some(secret), Some(id)) = (body["secret"].as_str(), body["token"]["id"].as_str()) else {
                bail!("no token for the {} tenant: {status} {body}", who.name());
            };
            driver.tokens.push((who, bearer(secret)?));
            driver.ids.push(id.to_owned());
        }
        Ok(driver)
    }

    /// Revokes the tokens.
    pub(crate) async fn close(self) -> Result<()> {
        for id in &self.ids {
            let request = self.http.delete(format!("{}/api/v1/tokens/{id}", self.base));
            request.header(AUTHORIZATION, self.admin.clone()).send().await?.bytes().await?;
        }
        Ok(())
    }

    /// Asks a question of these APIs: first once each, to see that they agree, then again and again.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        apis: &[Api],
        callers: &[usize],
        limits: Limits,
    ) -> Result<Vec<Line>> {
        let mut asked = Vec::new();
        for api in apis {
            let one = self
                .first(question, *api)
                .await
                .with_context(|| format!("'{}' as {} of the {} API", question.name, question.who.name(), api.name()))?;
            asked.push(one);
        }
        if let [native, acronis] = &asked[..] {
            for (a, b) in native.answers.iter().zip(&acronis.answers) {
                if let Some(how) = answer::difference(a, b) {
                    bail!("'{}' as {}: the answers differ: {how}", question.name, question.who.name());
                }
            }
        }
        let rows = asked[0].answers.iter().map(|a| a.rows.len()).max().unwrap_or_default();
        // What takes so long once is not asked again.
        let slow = asked.iter().flat_map(|a| &a.samples.each).any(|time| *time > limits.time);
        // The bytes of the native API.
        asked.extend(asked.first().map(|native| native.held(&self.ready)).transpose()?);
        let mut lines = Vec::new();
        for callers in if slow { &[1][..] } else { callers } {
            let samples = if slow {
                asked.iter_mut().map(|a| std::mem::take(&mut a.samples)).collect()
            } else {
                self.in_turn(question.who, &asked, *callers, limits).await?
            };
            let stats = |api: Api| {
                let place = apis.iter().position(|a| *a == api)?;
                Some(samples[place].stats())
            };
            let (native, acronis) = (stats(Api::Native), stats(Api::Acronis));
            let ready = samples.get(apis.len()).filter(|held| !held.each.is_empty()).map(Samples::stats);
            lines.push(Line::new(question.name, question.who.name(), *callers, rows, native, acronis, ready));
        }
        Ok(lines)
    }

    /// The answers to each of a question's addresses; of a walk, those along it.
    async fn first(&self, question: &Question, api: Api) -> Result<First> {
        let urls = match api {
            Api::Native => &question.native,
            Api::Acronis => &question.acronis,
        };
        let mut first = First { base: self.base.clone(), ..First::default() };
        let mut waiting: Vec<String> = urls.iter().rev().cloned().collect();
        while let Some(url) = waiting.pop() {
            let clock = Instant::now();
            let body = self.get(question.who, &self.base, &url).await?;
            first.samples.add(clock.elapsed(), body.len());
            first.samples.busy += clock.elapsed();
            let answer = answer::read(api, question.holds, &body)?;
            first.urls.push(url);
            first.bodies.push(body);
            if let (Holds::Walk, Some(next)) = (question.holds, &answer.next)
                && first.urls.len() < WALK_PAGES
            {
                waiting.push(format!("{}&{next}", urls[0]));
            }
            first.answers.push(answer);
        }
        Ok(first)
    }

    /// Asks the APIs in turn, with so many callers at once.
    async fn in_turn(&self, who: Who, asked: &[First], callers: usize, limits: Limits) -> Result<Vec<Samples>> {
        let mut samples: Vec<Samples> = asked.iter().map(|_| Samples::default()).collect();
        let mut turn = 0;
        while samples.iter().all(|s| s.each.len() < limits.requests && s.busy < limits.time) {
            for n in 0..asked.len() {
                // Who goes first changes, too.
                let n = (n + turn) % asked.len();
                self.go(who, &asked[n], callers, &mut samples[n]).await?;
            }
            turn += 1;
        }
        Ok(samples)
    }

    async fn go(&self, who: Who, asked: &First, callers: usize, samples: &mut Samples) -> Result<()> {
        let First { base, urls, .. } = asked;
        let before = samples.each.len();
        let each = if callers == 1 { 1 } else { IN_ONE_GO };
        let caller = |caller: usize| async move {
            let mut times = Vec::with_capacity(each);
            for n in 0..each {
                let url = &urls[(before + caller + n * callers) % urls.len()];
                let clock = Instant::now();
                let bytes = self.get(who, base, url).await?.len();
                times.push((clock.elapsed(), bytes));
            }
            anyhow::Ok(times)
        };
        let clock = Instant::now();
        let times = if callers == 1 { caller(0).await? } else { self.together(callers, caller).await? };
        samples.busy += clock.elapsed();
        times.into_iter().for_each(|(time, bytes)| samples.add(time, bytes));
        Ok(())
    }

    async fn together<F: Future<Output = Result<Vec<(Duration, usize)>>>>(
        &self,
        callers: usize,
        caller: impl Fn(usize) -> F,
    ) -> Result<Vec<(Duration, usize)>> {
        Ok(try_join_all((0..callers).map(caller)).await?.concat())
    }

    async fn get(&self, who: Who, base: &str, url: &str) -> Result<Bytes> {
        let token = self.tokens.iter().find(|(w, _)| *w == who).map(|(_, token)| token.clone());
        let request = self.http.get(format!("{base}{url}"));
        let answer = request.header(AUTHORIZATION, token.context("no token")?).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            bail!("{url} was answered with {status}: {said}");
        }
        Ok(body)
    }
}

/// What was learned from asking once.
#[derive(Default)]
struct First {
    base: String,
    urls: Vec<String>,
    answers: Vec<Answer>,
    bodies: Vec<Bytes>,
    samples: Samples,
}

impl First {
    /// The same answers, held ready.
    fn held(&self, ready: &Ready) -> Result<First> {
        for (url, body) in self.urls.iter().zip(&self.bodies) {
            // As the client will write it.
            let url = reqwest::Url::parse(&format!("{}{url}", ready.base()))?;
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            ready.put(format!("{}{query}", url.path()), body.clone());
        }
        Ok(First { base: ready.base().to_owned(), urls: self.urls.clone(), ..First::default() })
    }
}

impl Samples {
    fn add(&mut self, time: Duration, bytes: usize) {
        self.each.push(time);
        self.bytes += bytes;
    }

    fn stats(&self) -> Stats {
        let mut sorted = self.each.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        // The smallest that so many hundredths do not exceed.
        let quantile = |percent: usize| {
            let place = (count * percent).div_ceil(100).clamp(1, count.max(1)) - 1;
            sorted.get(place).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Stats {
            requests: count,
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            per_second: count as f64 / self.busy.as_secs_f64().max(1e-9),
            bytes: self.bytes / count.max(1),
        }
    }
}

fn bearer(secret: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).context("the token is no token")?;
    value.set_sensitive(true);
    Ok(value)
}
