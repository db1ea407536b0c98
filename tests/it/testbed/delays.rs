//! Random delays and choices.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Random numbers, which are the same again for the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of these; `None` where there are none.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let limit = choices.len().max(1) as u64;
        let at = usize::try_from(self.below(limit)).ok()?;
        choices.get(at).copied()
    }
}

/// The seed in TTYPLUGD_TEST_SEED, which an earlier run has printed, or else a new one.
#[allow(clippy::print_stderr)]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TTYPLUGD_TEST_SEED").ok();
    let given = given.filter(|seed| !seed.is_empty());
    let given = given.map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("TTYPLUGD_TEST_SEED={seed}");
    seed
}

/// Delays that no run repeats, unless it is given the seed of an earlier one.
#[derive(Debug)]
pub(crate) struct Delays(Random);

impl Delays {
    pub(crate) fn new() -> Self {
        Self(Random::new(seed()))
    }

    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.0.next() as f64 / 2_f64.powi(64))
    }
}
