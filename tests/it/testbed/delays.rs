//! Random delays.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Delays that no run repeats, unless TTYPLUGD_TEST_SEED has the seed that an earlier one printed.
#[derive(Debug)]
pub(crate) struct Delays(u64);

impl Delays {
    #[allow(clippy::print_stderr)]
    pub(crate) fn new() -> Self {
        let given = std::env::var("TTYPLUGD_TEST_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("TTYPLUGD_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        limit.mul_f64(bits as f64 / 2_f64.powi(64))
    }
}
