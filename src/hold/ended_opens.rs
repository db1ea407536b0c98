//! The opens that have ended and that nobody has counted yet. Pure.

use std::collections::BTreeMap;
use std::mem::take;

use crate::hold::held_opens::Reason;
use crate::hold::protocol::ReleasedOpen;

/// How many different ends are told apart.
const MOST_DIFFERENT: usize = 512;

/// How many have ended for each reason and after each time. None is lost, however many there are:
/// then times are rounded up to powers of two, of which there are few.
#[derive(Debug, Default)]
pub struct EndedOpens(BTreeMap<(Reason, u64), u64>);

impl EndedOpens {
    pub fn add(&mut self, ended: ReleasedOpen) {
        let count = self.0.entry((ended.reason, ended.waited_ms)).or_default();
        *count = count.saturating_add(ended.count);
        if self.0.len() > MOST_DIFFERENT {
            for ended in self.take() {
                let waited_ms = ended.waited_ms.checked_next_power_of_two();
                let waited_ms = waited_ms.unwrap_or(u64::MAX);
                self.add(ReleasedOpen { waited_ms, ..ended });
            }
        }
    }

    /// Takes them all out.
    pub fn take(&mut self) -> Vec<ReleasedOpen> {
        let all = take(&mut self.0).into_iter();
        all.map(|((reason, waited_ms), count)| ReleasedOpen {
            waited_ms,
            reason,
            count,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_have_ended_each_is_counted_in_little_memory() {
        let mut ended = EndedOpens::default();
        let one = |waited_ms, reason| ReleasedOpen {
            waited_ms,
            reason,
            count: 1,
        };
        for _ in 0..3 {
            ended.add(one(60_000, Reason::Timeout));
        }
        let three = ReleasedOpen {
            count: 3,
            ..one(60_000, Reason::Timeout)
        };
        assert_eq!(ended.take(), [three]);
        assert_eq!(ended.take(), []);
        for reason in Reason::ALL {
            for exponent in 0..64 {
                for more in 0..50 {
                    ended.add(one((1u64 << exponent) + more, reason));
                }
            }
        }
        let all = ended.take();
        assert!(all.len() <= MOST_DIFFERENT, "{}", all.len());
        assert_eq!(
            all.iter().map(|ended| ended.count).sum::<u64>(),
            4 * 64 * 50
        );
    }
}
