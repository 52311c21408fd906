//! Tasks as they change: a stream over server-sent events that reconnects and goes on from the last revision.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt, unfold};
use reqwest::Method;

use super::Client;
use super::error::{Error, Result};
use crate::TaskEvent;

/// The server sends a heartbeat every 15 seconds; a connection that is silent for longer than this is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// The wait before the first reconnection; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// No task is nearly as large; a server that sends more without an end of line is none of ours.
const LONGEST_EVENT: usize = 16 * 1024 * 1024;

/// Tasks as they change. A task may come again after a reconnection; none is left out.
///
/// The stream ends after an error that reconnecting does not cure: a refusal, or a server that cannot be reached at
/// all.
pub struct Events(BoxStream<'static, Result<TaskEvent>>);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Result<TaskEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl Events {
    pub(super) fn new(client: Client, query: Vec<(String, String)>, since: Option<i64>) -> Events {
        let follow = Follow {
            client,
            query,
            since,
            connection: None,
            parser: Parser::default(),
            ready: VecDeque::new(),
            wait: FIRST_WAIT,
            connected_once: false,
            over: false,
        };
        Events(unfold(follow, |mut f| async move { f.next().await.map(|event| (event, f)) }).boxed())
    }
}

struct Follow {
    client: Client,
    query: Vec<(String, String)>,
    since: Option<i64>,
    connection: Option<reqwest::Response>,
    parser: Parser,
    ready: VecDeque<TaskEvent>,
    wait: Duration,
    connected_once: bool,
    over: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<TaskEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            let step = match self.connection {
                Some(_) => self.read().await,
                None => self.connect().await,
            };
            if let Err(error) = step {
                self.over = true;
                return Some(Err(error));
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connected_once {
            tokio::time::sleep(self.wait).await;
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
        let mut query = self.query.clone();
        query.extend(self.since.map(|s| ("since".to_owned(), s.to_string())));
        let request = self.client.request(Method::GET, &["tasks", "events"], &query)?;
        match self.client.answer(request.header("accept", "text/event-stream")).await {
            Ok(answer) => {
                self.parser = Parser::default();
                self.connected_once = true;
                self.connection = Some(answer);
                Ok(())
            }
            Err(e) if self.connected_once && curable(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn read(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match tokio::time::timeout(SILENCE, connection.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.wait = FIRST_WAIT;
                for event in self.parser.feed(&bytes)? {
                    if event.name == "task" {
                        let task = serde_json::from_str(&event.data).map_err(|e| Error::Answer {
                            message: format!("an event is not what this program understands: {e}"),
                        })?;
                        self.ready.push_back(task);
                    }
                }
                if let Some(id) = self.parser.last_id {
                    self.since = Some(id);
                }
            }
            // The end, a broken connection or silence: go on with a new one.
            Ok(Ok(None) | Err(_)) | Err(_) => self.connection = None,
        }
        Ok(())
    }
}

/// Whether a later attempt may succeed though this one failed.
fn curable(e: &Error) -> bool {
    match e {
        Error::Transport { .. } => true,
        Error::Api(api) => api.status >= 500,
        Error::Answer { .. } | Error::Setup(_) => false,
    }
}

struct Event {
    name: String,
    data: String,
}

/// Server-sent events out of bytes that are cut anywhere.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    name: String,
    data: String,
    id: Option<i64>,
    last_id: Option<i64>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() + self.data.len() > LONGEST_EVENT {
            return Err(Error::Answer { message: "the server sends an event without an end".to_owned() });
        }
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            events.extend(self.line(line.trim_end_matches('\r')));
        }
        self.buffer.drain(..start);
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            // The position moves only when an event is whole, so that a torn one comes again.
            self.last_id = self.id.take().or(self.last_id);
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return (!data.is_empty()).then_some(Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = value.parse().ok(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        let text = b": hello\n\nevent: ready\nid: 4\ndata: {}\n\n\
            id: 5\nevent: task\r\ndata: a\ndata: b\r\n\r\nid: 6\n\nid: 7\ndata: torn";
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for part in text.chunks(cut) {
                seen.extend(parser.feed(part).expect("small"));
            }
            let seen: Vec<_> = seen.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
            assert_eq!(seen, [("ready", "{}"), ("task", "a\nb")], "cut every {cut} bytes");
            assert_eq!(parser.last_id, Some(6), "cut every {cut} bytes");
        }
    }
}
