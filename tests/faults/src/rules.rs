//! Which fault which request meets, and how often it did.

use crate::fault::Fault;
use crate::proxy::Seen;

/// Which requests a rule is for: all of these must hold.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    method: &'static str,
    has: String,
    has_not: &'static str,
}

impl Matching {
    /// All requests.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests whose target, with its query, has this.
    #[must_use]
    pub fn has(text: impl Into<String>) -> Self {
        Self {
            has: text.into(),
            ..Self::default()
        }
    }

    /// Requests of this method (`GET`, `PUT`) whose target, with its query, has this.
    #[must_use]
    pub fn of(method: &'static str, text: impl Into<String>) -> Self {
        Self {
            method,
            ..Self::has(text)
        }
    }

    /// But not those whose target has this too.
    #[must_use]
    pub fn but(self, has_not: &'static str) -> Self {
        Self { has_not, ..self }
    }

    fn fits(&self, seen: &Seen) -> bool {
        (self.method.is_empty() || self.method == seen.method)
            && seen.target.contains(&self.has)
            && (self.has_not.is_empty() || !seen.target.contains(self.has_not))
    }
}

/// A fault for the requests that match.
#[derive(Debug)]
struct Rule {
    matching: Matching,
    fault: Fault,
    /// `None`: all that match.
    times: Option<u32>,
    fired: u32,
}

impl Rule {
    fn is_live(&self) -> bool {
        self.times.is_none_or(|times| self.fired < times)
    }

    /// What is missing, in words.
    fn unspent(&self) -> Option<String> {
        let Self {
            matching,
            fault,
            fired,
            ..
        } = self;
        let wanted = self.times.unwrap_or(1);
        (*fired < wanted)
            .then(|| format!("{fault:?} fired {fired} times of {wanted}, for {matching:?}"))
    }
}

/// All rules; the first that is not used up decides.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// Of rules that were taken away before their end.
    unspent: Vec<String>,
}

impl Rules {
    pub(crate) fn add(&mut self, matching: Matching, fault: Fault, times: Option<u32>) {
        self.rules.push(Rule {
            matching,
            fault,
            times,
            fired: 0,
        });
    }

    /// The fault that this request meets.
    pub(crate) fn fire(&mut self, seen: &Seen) -> Option<Fault> {
        let mut live = self.rules.iter_mut().filter(|rule| rule.is_live());
        let rule = live.find(|rule| rule.matching.fits(seen))?;
        rule.fired += 1;
        Some(rule.fault)
    }

    /// Takes away the rules whose faults are these.
    pub(crate) fn take_away(&mut self, these: impl Fn(Fault) -> bool) {
        let taken = self.rules.extract_if(.., |rule| these(rule.fault));
        self.unspent.extend(taken.filter_map(|rule| rule.unspent()));
    }

    /// Rules that did not fire as often as they were told to, in words.
    pub(crate) fn unspent(&mut self) -> &[String] {
        self.take_away(|_| true);
        &self.unspent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(target: &str) -> Seen {
        Seen {
            method: "PUT".to_owned(),
            target: target.to_owned(),
            sent: 0,
            connection: 1,
        }
    }

    #[test]
    fn a_rule_fires_as_often_as_it_was_told_to_and_then_the_next_one_does() {
        let mut rules = Rules::default();
        rules.add(Matching::of("PUT", "/a"), Fault::Cut, Some(2));
        rules.add(Matching::has("/a").but("/a/b"), Fault::LoseAnswer, None);
        let faults = ["/a", "/b", "/a/b", "/a/b", "/a"].map(|target| rules.fire(&put(target)));
        let cut = Some(Fault::Cut);
        assert_eq!(faults, [cut, None, cut, None, Some(Fault::LoseAnswer)]);
        assert_eq!(rules.unspent(), [""; 0]);
    }

    #[test]
    fn rules_that_did_not_fire_are_known_also_when_they_were_taken_away() {
        let mut rules = Rules::default();
        rules.add(Matching::any(), Fault::Cut, Some(2));
        rules.add(Matching::of("GET", "/b"), Fault::Hold, None);
        rules.fire(&put("/a"));
        rules.take_away(Fault::holds);
        let unspent = rules.unspent().join("\n");
        assert!(unspent.contains("Hold fired 0 times of 1"), "{unspent}");
        assert!(unspent.contains("Cut fired 1 times of 2"), "{unspent}");
    }
}
