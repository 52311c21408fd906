//! More tries of what failed and may go well later.

use std::{thread, time::Duration};

use domain::policy::settings::Retry;

/// Do something as often as `retries` allow, until it goes well or fails in a way that waiting does not help.
pub(super) fn try_again<T, E>(
    retries: Option<Retry>,
    operation: impl FnMut() -> Result<T, E>,
    may_pass: impl FnMut(&E) -> bool,
) -> Result<T, E> {
    trying(retries, operation, may_pass, pause)
}

#[expect(clippy::disallowed_methods, reason = "the time between two tries is what the policy says")]
fn pause(time: Duration) {
    thread::sleep(time);
}

fn trying<T, E>(
    retries: Option<Retry>,
    mut operation: impl FnMut() -> Result<T, E>,
    mut may_pass: impl FnMut(&E) -> bool,
    mut pause: impl FnMut(Duration),
) -> Result<T, E> {
    let Some(Retry { attempts: mut left, interval }) = retries else { return operation() };
    loop {
        match operation() {
            Err(error) if left > 0 && may_pass(&error) => left -= 1,
            other => return other,
        }
        pause(interval.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use domain::SignedDuration;

    use super::*;

    /// How often it was tried, how often waited, and what came of it, when the first `failures` fail.
    fn tried(retries: Option<Retry>, failures: u32, worth: u32) -> (u32, Vec<Duration>, Result<(), u32>) {
        let (mut tries, mut waits) = (0, Vec::new());
        let operation = || {
            tries += 1;
            if tries <= failures { Err(tries) } else { Ok(()) }
        };
        let outcome = trying(retries, operation, |error| *error <= worth, |time| waits.push(time));
        (tries, waits, outcome)
    }

    #[test]
    fn what_fails_is_tried_as_often_as_allowed_and_not_once_more() {
        let second = Duration::from_secs(1);
        let retries = Some(Retry { attempts: 2, interval: SignedDuration::from_secs(1) });
        assert_eq!(tried(retries, 0, 9), (1, vec![], Ok(())));
        assert_eq!(tried(retries, 2, 9), (3, vec![second, second], Ok(())));
        assert_eq!(tried(retries, 9, 9), (3, vec![second, second], Err(3)));
        assert_eq!(tried(retries, 9, 1), (2, vec![second], Err(2)), "the second is of no use to try again");
        assert_eq!(tried(None, 1, 9), (1, vec![], Err(1)));
    }
}
