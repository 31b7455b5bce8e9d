//! How long a stage's shards took: enough to tell its third quartile, in bounded room.

/// Steps per doubling: a quartile is told to within a tenth.
const STEPS: u32 = 8;

/// Durations of committed attempts, counted in classes that grow with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    classes: Vec<u32>,
    count: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, ms: u64) {
        let class = class(ms);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] = self.classes[class].saturating_add(1);
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Three quarters took no longer than this.
    pub(crate) fn third_quartile_ms(&self) -> u64 {
        let rank = (self.count * 3).div_ceil(4);
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return upper_ms(class);
            }
        }
        0
    }
}

/// The first classes hold one duration each; from there on each doubling has as many classes.
fn class(ms: u64) -> usize {
    let steps = u64::from(STEPS);
    if ms < steps {
        return usize::try_from(ms).unwrap_or(0);
    }
    let doubling = ms.ilog2() - STEPS.ilog2();
    let step = (ms >> doubling) - steps;
    usize::try_from(u64::from(doubling + 1) * steps + step).unwrap_or(0)
}

fn upper_ms(class: usize) -> u64 {
    let (steps, class) = (u64::from(STEPS), class as u64);
    if class < steps {
        return class;
    }
    let (doubling, step) = (class / steps - 1, class % steps);
    ((steps + step + 1) << doubling).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quartile_is_told_to_within_a_tenth() {
        for most in [4_u64, 40, 400, 40_000, 4_000_000] {
            let mut durations = Durations::default();
            (1..=100).for_each(|n| durations.add(most * n / 100));
            let (exact, told) = (most * 75 / 100, durations.third_quartile_ms());
            assert!(
                (exact..=exact + exact / 8 + 1).contains(&told),
                "{told} for {exact}"
            );
        }
    }
}
