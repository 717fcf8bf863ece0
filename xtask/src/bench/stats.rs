//! The statistics of the benchmark: percentiles, spreads, ratios, and how
//! numbers are written.
//!
//! Pure: it neither measures nor prints.

/// What is shown of a set of measurements, in the unit they came in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// How many measurements there were.
    pub(crate) count: usize,
    /// The 10th percentile.
    pub(crate) low: f64,
    /// The 50th percentile.
    pub(crate) median: f64,
    /// The 90th percentile.
    pub(crate) high: f64,
    /// The 99th percentile.
    pub(crate) tail: f64,
}

impl Spread {
    /// Sums measurements up; none where there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            low: percentile(&sorted, 10)?,
            median: percentile(&sorted, 50)?,
            high: percentile(&sorted, 90)?,
            tail: percentile(&sorted, 99)?,
        })
    }

    /// How many times `base`'s median this median is.
    pub(crate) fn ratio(&self, base: &Self) -> Option<f64> {
        (base.median > 0.0).then(|| self.median / base.median)
    }

    /// `median (low–high)`, in the unit they came in.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} ({}–{})",
            number(self.median),
            number(self.low),
            number(self.high)
        )
    }
}

/// A percentile of sorted values, interpolated linearly between the two that
/// are next to it; none where there are no values.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let steps = sorted.len().checked_sub(1)? * percent.min(100);
    let (below, rest) = (steps / 100, steps % 100);
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    // Both are below 100 and exact.
    let share = f64::from(u8::try_from(rest).unwrap_or(0)) / 100.0;
    Some(low + (high - low) * share)
}

/// A number with three significant digits, but never fewer than its integer
/// part has.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{Spread, number, percentile};

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let table = [
            (0, Some(1.0)),
            (50, Some(2.5)),
            (90, Some(3.7)),
            (100, Some(4.0)),
            (250, Some(4.0)),
        ];
        for (percent, wanted) in table {
            assert_eq!(percentile(&values, percent), wanted, "{percent}");
        }
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_spread_needs_no_order() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.count, spread.median), (3, 2.0));
        assert_eq!(spread.text(), "2.00 (1.20–2.80)");
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_ratio_is_of_medians() {
        let base = Spread::of(&[10.0]).unwrap();
        let other = Spread::of(&[11.0, 11.0, 99.0]).unwrap();
        assert_eq!(other.ratio(&base), Some(1.1));
        let zero = Spread::of(&[0.0]).unwrap();
        assert_eq!(other.ratio(&zero), None);
    }

    #[test]
    fn numbers_keep_three_digits() {
        let table = [
            (0.0, "0"),
            (0.046, "0.05"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.94, "99.9"),
            (99.96, "100"),
            (1234.5, "1234"),
        ];
        for (value, wanted) in table {
            assert_eq!(number(value), wanted, "{value}");
        }
    }
}
