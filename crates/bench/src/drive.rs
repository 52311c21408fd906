//! Asking: the same question to the APIs in turn, and to a server that holds the answer ready, so that whatever else the
//! machine does hits all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Api, Body};
use crate::question::{Busy, Holds, Marker, Pages, Question, Request, WALK_PAGES, Who};
use crate::ready::Ready;
use crate::report::{Answers, Line, Stats};
use crate::yandex::Grpc;

/// Longer than any answer may take; the shortest patience that was seen in a client is 30 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a server is asked whether it is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Requests of each caller in one go, when several ask at once: then it is the other API's turn.
const IN_ONE_GO: usize = 3;
/// The tenant with the most machines is looked for among so many with the most tasks.
const BUSY_TENANTS: usize = 50;

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
    grpc: Grpc,
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
        let grpc = Grpc::new(&base, PATIENCE)?;
        let mut driver = Driver { http, grpc, base, tokens: Vec::new(), ids: Vec::new(), admin, ready };
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

    /// Waits until the server answers lists: it may have to read all tasks first.
    pub(crate) async fn ready(&self) -> Result<()> {
        loop {
            let request = self.http.get(format!("{}/api/v1/tasks?limit=1", self.base));
            let answer = request.header(AUTHORIZATION, self.admin.clone()).send().await?;
            if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Finds out who has the longest lists; `machine` is the one with the most tasks.
    pub(crate) async fn busy(&self, machine: domain::Uuid) -> Result<Busy> {
        let instance = self.json(&format!("/api/v1/resources/{machine}")).await?;
        let instance = instance["instance_id"].as_str().context("a resource without an instance_id")?;
        let counts = self.json("/api/v1/tasks/counts?by=tenant").await?;
        let groups = counts["groups"].as_array().context("no counts")?;
        let mut most = None;
        for group in groups.iter().take(BUSY_TENANTS) {
            let tenant: domain::Uuid = group["values"]["tenant"].as_str().context("no tenant")?.parse()?;
            let url = format!("/api/v1/resources?tenant={tenant}&kind=compute_vm,bare_metal&limit=1&total=true");
            most = most.max(Some((self.json(&url).await?["total"].as_u64(), tenant)));
        }
        let (_, folder) = most.context("nobody has tasks")?;
        Ok(Busy { machine: (machine, instance.to_owned()), folder })
    }

    /// The task behind which nine tenths of all are, or a bit fewer.
    pub(crate) async fn marker(&self, tasks: u64) -> Result<Marker> {
        let place = (tasks * 9 / 10 / 100 * 100).max(100);
        let found = self.json(&format!("/api/v1/tasks?limit=1&page={place}")).await?;
        let uuid = found["items"][0]["uuid"].as_str().context("there are too few tasks")?.to_owned();
        Ok(Marker { uuid, place })
    }

    async fn json(&self, url: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get(Who::Root, &self.base, url).await?)?)
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
        let apis: Vec<Api> = apis.iter().copied().filter(|api| !question.requests(*api).is_empty()).collect();
        for api in &apis {
            let one = self
                .first(question, *api)
                .await
                .with_context(|| format!("'{}' as {} of the {} API", question.name, question.who.name(), api.name()))?;
            asked.push(one);
        }
        if let [native, dialects @ ..] = &asked[..] {
            for (dialect, api) in dialects.iter().zip(&apis[1..]) {
                let differ = |how| {
                    format!(
                        "'{}' as {}: the answers of {} differ: {how}",
                        question.name,
                        question.who.name(),
                        api.name()
                    )
                };
                if native.answers.len() != dialect.answers.len() {
                    bail!(differ(format!("{} pages, {} in native", dialect.answers.len(), native.answers.len())));
                }
                let how = native.answers.iter().zip(&dialect.answers).find_map(|(a, b)| answer::difference(a, b));
                if let Some(how) = how {
                    bail!(differ(how));
                }
            }
        }
        if question.pages == Pages::Deep {
            asked.iter_mut().for_each(First::keep_deepest);
        }
        let rows = asked.first().and_then(|a| a.answers.iter().map(|a| a.rows.len()).max()).unwrap_or_default();
        // What takes so long once is not asked again.
        let slow = asked.iter().flat_map(|a| &a.samples.each).any(|time| *time > limits.time);
        // The bytes of the native API, or of the first one that is asked beside it.
        let readable = question.holds != Holds::Made;
        let held =
            asked.iter().find(|a| readable && !a.bodies.is_empty()).map(|json| json.held(&self.ready)).transpose()?;
        asked.extend(held);
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
            let answers = Answers {
                native: stats(Api::Native),
                acronis: stats(Api::Acronis),
                yandex_grpc: stats(Api::Grpc),
                yandex_rest: stats(Api::Rest),
                clumio: stats(Api::Clumio),
                openstack: stats(Api::OpenStack),
                ready: samples.get(apis.len()).filter(|held| !held.each.is_empty()).map(Samples::stats),
            };
            lines.push(Line::new(question.name, question.who.name(), *callers, rows, answers));
        }
        Ok(lines)
    }

    /// The answers to each of a question's requests; of a walk, those along it.
    async fn first(&self, question: &Question, api: Api) -> Result<First> {
        let requests = question.requests(api);
        let mut first = First { base: self.base.clone(), ..First::default() };
        let mut waiting: Vec<Request> = requests.iter().rev().cloned().collect();
        while let Some(request) = waiting.pop() {
            let clock = Instant::now();
            let body = self.send(question.who, &self.base, &request).await?;
            let time = clock.elapsed();
            first.samples.add(time, body.len());
            first.samples.busy += time;
            let answer = answer::read(api, question.holds, &body)?;
            first.requests.push(request);
            if let Body::Json(body) = body {
                first.bodies.push(body);
            }
            if let (Pages::Walk | Pages::Deep, Some(next)) = (question.pages, &answer.next)
                && first.requests.len() < WALK_PAGES
            {
                waiting.push(requests[0].page(next));
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
        let First { base, requests, .. } = asked;
        let before = samples.each.len();
        let each = if callers == 1 { 1 } else { IN_ONE_GO };
        let caller = |caller: usize| async move {
            let mut times = Vec::with_capacity(each);
            for n in 0..each {
                let request = &requests[(before + caller + n * callers) % requests.len()];
                let clock = Instant::now();
                let body = self.send(who, base, request).await?;
                times.push((clock.elapsed(), body.len()));
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

    /// The whole answer. What comes by gRPC is decoded, as generated clients do it; JSON is not parsed.
    async fn send(&self, who: Who, base: &str, request: &Request) -> Result<Body> {
        Ok(match request {
            Request::Get(url) => Body::Json(self.get(who, base, url).await?),
            Request::Post(url, body) => Body::Json(self.post(base, url, body).await?),
            Request::Grpc(asked) => Body::Grpc(self.grpc.ask(self.token(who)?, asked).await?),
        })
    }

    fn token(&self, who: Who) -> Result<&HeaderValue> {
        self.tokens.iter().find(|(w, _)| *w == who).map(|(_, token)| token).context("no token")
    }

    async fn get(&self, who: Who, base: &str, url: &str) -> Result<Bytes> {
        answer_to(self.http.get(format!("{base}{url}")), self.token(who)?, url).await
    }

    async fn post(&self, base: &str, url: &str, body: &'static str) -> Result<Bytes> {
        let request = self.http.post(format!("{base}{url}")).header(CONTENT_TYPE, "application/json").body(body);
        answer_to(request, &self.admin, url).await
    }
}

/// The body of an answer that says that all went well.
async fn answer_to(request: reqwest::RequestBuilder, token: &HeaderValue, url: &str) -> Result<Bytes> {
    // Clients of OpenStack have a header of their own.
    let secret = token.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let mut secret = HeaderValue::from_bytes(secret)?;
    secret.set_sensitive(true);
    let answer = request.header(AUTHORIZATION, token.clone()).header("x-auth-token", secret).send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    if !status.is_success() {
        let said: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        bail!("{url} was answered with {status}: {said}");
    }
    Ok(body)
}

/// What was learned from asking once.
#[derive(Default)]
struct First {
    base: String,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    /// Those that are JSON.
    bodies: Vec<Bytes>,
    samples: Samples,
}

impl First {
    /// Forgets all of a walk but the last page that is well filled.
    fn keep_deepest(&mut self) {
        let full = self.answers.first().map_or(0, |a| a.rows.len());
        let Some(place) = self.answers.iter().rposition(|a| a.rows.len() * 2 >= full) else { return };
        let time = self.samples.each[place];
        // Pages are about as large as each other.
        let bytes = self.samples.bytes / self.samples.each.len();
        self.samples = Samples { each: vec![time], busy: time, bytes };
        self.requests = vec![self.requests.swap_remove(place)];
        self.answers = vec![self.answers.swap_remove(place)];
        if place < self.bodies.len() {
            self.bodies = vec![self.bodies.swap_remove(place)];
        }
    }

    /// The same answers, held ready; they are JSON.
    fn held(&self, ready: &Ready) -> Result<First> {
        for (request, body) in self.requests.iter().zip(&self.bodies) {
            let Request::Get(url) = request else { continue };
            // As the client will write it.
            let url = reqwest::Url::parse(&format!("{}{url}", ready.base()))?;
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            ready.put(format!("{}{query}", url.path()), body.clone());
        }
        Ok(First { base: ready.base().to_owned(), requests: self.requests.clone(), ..First::default() })
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
