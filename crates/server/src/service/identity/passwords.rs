//! Passwords and clients' secrets, hashed with Argon2id. A hash takes some 40 ms and 19 MiB on purpose, so only a few run
//! at once and only so many wait.

use std::hint::black_box;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use domain::{Code, Error, Result};
use tokio::sync::Semaphore;

/// Memory in KiB, passes, lanes: the OWASP Password Storage Cheat Sheet's first choice for few cores.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many hashes run at once; memory stays below 40 MiB and two cores at most are busy with it.
const AT_ONCE: usize = 2;
/// How many wait for their turn: one or two seconds' work.
const WAITING: usize = 64;

const SALT_LEN: usize = 16;

/// Hashes and compares, a few at a time.
pub(super) struct Passwords {
    /// One permit for each that runs or waits.
    admitted: Semaphore,
    /// One permit for each that runs.
    running: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { admitted: Semaphore::new(AT_ONCE + WAITING), running: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// The hash under which a secret is kept, in PHC form.
    pub(super) async fn hash(&self, secret: String) -> Result<String> {
        self.run(move || hash(&secret)).await?
    }

    /// Whether the secret is the one behind the hash. Without a hash it is not, which takes as long to find out: the time
    /// must not tell which names exist.
    pub(super) async fn verify(&self, secret: String, hash: Option<String>) -> Result<bool> {
        self.run(move || match hash {
            Some(hash) => verify(&secret, &hash),
            None => digest(&secret, &[0; SALT_LEN]).map(|nothing| {
                black_box(nothing);
                false
            }),
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _admitted = self.admitted.try_acquire().map_err(|_| {
            Error::new(Code::Unavailable, "too many are signing in at this moment")
                .hint("try again in some seconds")
                .retry_after(2)
        })?;
        let turn = self.running.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Error::new(Code::Unavailable, "the server is stopping"))?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: who goes away while it runs does not make room for more.
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| Error::new(Code::Internal, "hashing a password failed"))
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, LANES, None).expect("constants within the limits of Argon2");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn digest(secret: &str, salt: &[u8]) -> Result<PasswordHash> {
    let hash = argon2().hash_password_with_salt(secret.as_bytes(), salt);
    hash.map_err(|e| Error::new(Code::Internal, format!("a password cannot be hashed: {e}")))
}

fn hash(secret: &str) -> Result<String> {
    let mut salt = [0; SALT_LEN];
    let filled = SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| Error::new(Code::Internal, "the system gives no randomness"))?;
    Ok(digest(secret, &salt)?.to_string())
}

fn verify(secret: &str, hash: &str) -> Result<bool> {
    let damaged = || Error::new(Code::LedgerDamaged, "a stored hash of a password cannot be read");
    let hash = PasswordHash::new(hash).map_err(|_| damaged())?;
    match argon2().verify_password(secret.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(_) => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_says_how_it_was_made_and_fits_its_secret_only() {
        let made = hash("tape under the desk").expect("a hash");
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_ne!(made, hash("tape under the desk").expect("a hash"), "the salt is random");
        assert!(verify("tape under the desk", &made).expect("a readable hash"));
        assert!(!verify("tape under the desc", &made).expect("a readable hash"));
        assert_eq!(verify("x", "no hash").expect_err("no hash").code, Code::LedgerDamaged);
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_sent_away() {
        let passwords = Passwords::default();
        let all = passwords.admitted.acquire_many((AT_ONCE + WAITING) as u32).await.expect("open");
        let refused = passwords.verify("x".into(), None).await.expect_err("no room");
        assert_eq!(refused.code, Code::Unavailable);
        assert!(refused.retry_after.is_some());
        drop(all);
        assert!(!passwords.verify("x".into(), None).await.expect("room"));
    }
}
