//! Medians, and numbers as people read them.

/// What several rounds of one measurement came to.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    sorted: Vec<f64>,
}

impl Rounds {
    /// Of at least one round.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// Round by round, one over the other: what disturbs both of a pair disturbs their ratio least.
    pub(crate) fn ratios(over: &[f64], under: &[f64]) -> Self {
        Self::new(
            over.iter()
                .zip(under)
                .map(|(over, under)| over / under)
                .collect(),
        )
    }

    /// Not a number where there was no round.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        let upper = self.sorted.get(middle).copied().unwrap_or(f64::NAN);
        if self.sorted.len() % 2 == 1 {
            return upper;
        }
        let lower = middle
            .checked_sub(1)
            .and_then(|index| self.sorted.get(index))
            .copied()
            .unwrap_or(f64::NAN);
        (lower + upper) / 2.0
    }

    /// "3 rounds, 91,000 to 104,000"
    pub(crate) fn spread(&self, show: impl Fn(f64) -> String) -> String {
        match (self.sorted.first(), self.sorted.last()) {
            (Some(least), Some(most)) if self.sorted.len() > 1 => {
                format!(
                    "{} rounds, {} to {}",
                    self.sorted.len(),
                    show(*least),
                    show(*most)
                )
            }
            _ => "1 round".to_owned(),
        }
    }
}

/// `12,345`
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12,345 per s`
pub(crate) fn per_s(value: f64) -> String {
    format!("{} per s", whole(value))
}

/// `3.4 MB` of 10^6 bytes.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{Rounds, whole};

    #[test]
    fn a_median_is_the_middle() {
        assert!((Rounds::new(vec![3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((Rounds::new(vec![4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert!(Rounds::new(Vec::new()).median().is_nan());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(whole(0.0), "0");
        assert_eq!(whole(999.6), "1,000");
        assert_eq!(whole(1_234_567.0), "1,234,567");
    }
}
