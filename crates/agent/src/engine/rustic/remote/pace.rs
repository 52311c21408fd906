//! How fast data may flow to a repository and come from it: all threads of a job together keep to one number of bytes a
//! second each way, in small pieces, so that a line stays usable for others.

use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::repository::Limits;
use reqwest::blocking::{Body, Response};

use super::unreachable;

/// So many bytes go at once.
const PIECE: usize = 16 * 1024;
/// More than any file of a repository, with all others that wait for the same line.
const UNDER_WAY: u64 = 1 << 30;

/// The limits of a job, both ways.
#[derive(Debug)]
pub(super) struct Paces {
    pub(super) up: Arc<Pace>,
    pub(super) down: Arc<Pace>,
}

impl Paces {
    pub(super) fn new(limits: Limits) -> Paces {
        Paces { up: Arc::new(Pace::new(limits.upload)), down: Arc::new(Pace::new(limits.download)) }
    }

    /// How much longer than without limits a file may take.
    pub(super) fn patience(&self) -> Duration {
        [&self.up, &self.down]
            .iter()
            .filter(|pace| pace.rate > 0)
            .map(|pace| pace.time(UNDER_WAY))
            .max()
            .unwrap_or_default()
    }

    /// What is sent.
    pub(super) fn sent(&self, content: Bytes) -> Body {
        if self.up.rate == 0 || content.is_empty() {
            return content.into();
        }
        let length = content.len() as u64;
        Body::sized(Paced { pace: Arc::clone(&self.up), inner: Cursor::new(content) }, length)
    }

    /// A body that came whole.
    pub(super) fn received(&self, response: Response) -> io::Result<Bytes> {
        if self.down.rate == 0 {
            return response.bytes().map_err(unreachable);
        }
        let mut content = Vec::new();
        let mut paced = Paced { pace: Arc::clone(&self.down), inner: response };
        paced.read_to_end(&mut content).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => error,
            _ => io::Error::new(io::ErrorKind::NotConnected, format!("the connection broke: {error}")),
        })?;
        Ok(content.into())
    }
}

/// One way.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0 = no limit.
    rate: u64,
    /// When the next byte may go.
    free: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(rate: u64) -> Pace {
        Pace { rate, free: Mutex::default() }
    }

    /// How long so many bytes take.
    fn time(&self, bytes: u64) -> Duration {
        Duration::from_nanos(
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX),
        )
    }

    /// When bytes that are ready now may go; the line is taken until they have gone.
    fn turn(&self, bytes: usize, now: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = free.map_or(now, |free| free.max(now));
        *free = Some(turn + self.time(bytes as u64));
        turn
    }

    /// Waits until so many bytes may go.
    #[expect(clippy::disallowed_methods, reason = "to be slow is what is wished")]
    pub(super) fn wait(&self, bytes: usize) {
        if self.rate > 0 {
            let now = Instant::now();
            std::thread::sleep(self.turn(bytes, now).saturating_duration_since(now));
        }
    }
}

/// A reader that keeps to a pace.
struct Paced<R> {
    pace: Arc<Pace>,
    inner: R,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE);
        let read = self.inner.read(&mut buffer[..most])?;
        self.pace.wait(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_what_it_may_and_no_more() {
        let pace = Pace::new(1000);
        let start = Instant::now();
        let seconds = Duration::from_secs_f64;
        assert_eq!(pace.turn(500, start), start, "it is free");
        assert_eq!(pace.turn(2000, start), start + seconds(0.5), "one after the other, whoever asks");
        assert_eq!(pace.turn(1, start + seconds(1.0)), start + seconds(2.5));
        // What was not used is not saved up.
        assert_eq!(pace.turn(1, start + seconds(60.0)), start + seconds(60.0));
        assert_eq!(pace.turn(1, start + seconds(60.0)), start + seconds(60.001));
    }

    #[test]
    fn slow_lines_are_given_the_time_that_they_need() {
        assert_eq!(Paces::new(Limits::default()).patience(), Duration::ZERO);
        let slow = Limits { upload: 1 << 20, download: 0 };
        assert_eq!(Paces::new(slow).patience(), Duration::from_secs(1024));
        let slower = Limits { upload: 1 << 20, download: 1 << 19 };
        assert_eq!(Paces::new(slower).patience(), Duration::from_secs(2048));
    }
}
