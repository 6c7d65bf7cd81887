//! A set of counter values, kept as ranges: those of one key come nearly without gaps.

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// First and last of each range, ascending, none touching the next.
    ranges: Vec<(u32, u32)>,
}

impl Counters {
    /// Adds a value. False if it was there.
    pub(crate) fn insert(&mut self, value: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < value);
        if self.ranges.get(at).is_some_and(|&(first, _)| first <= value) {
            return false;
        }
        let joins_left = at > 0 && self.ranges[at - 1].1 + 1 == value;
        let joins_right = self.ranges.get(at).is_some_and(|&(first, _)| value + 1 == first);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = value,
            (false, true) => self.ranges[at].0 = value,
            (false, false) => self.ranges.insert(at, (value, value)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_new_once_whatever_the_order() {
        let mut counters = Counters::default();
        for value in [5, 1, 3, 2, 4, 9, 7, 8, u32::MAX, 0] {
            assert!(counters.insert(value), "{value}");
            assert!(!counters.insert(value), "{value} again");
        }
        assert_eq!(counters.ranges, [(0, 5), (7, 9), (u32::MAX, u32::MAX)]);
    }
}
