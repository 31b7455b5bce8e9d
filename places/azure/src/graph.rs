//! What has to be made before what: whatever depends on nothing that is missing may be made at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Things to make, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    things: BTreeMap<String, Thing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    after: BTreeSet<String>,
    state: State,
}

/// How far a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Goes,
    Done,
    Failed,
}

/// Why a graph can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// That name is there already.
    Twice(String),
    /// The first depends on the second, which nobody makes.
    Missing(String, String),
    /// These depend on one another in a circle.
    Circle(Vec<String>),
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(name) => write!(f, "{name} is there twice"),
            Self::Missing(name, before) => write!(f, "{name} needs {before}, which nobody makes"),
            Self::Circle(names) => write!(f, "these need one another: {}", names.join(", ")),
        }
    }
}

impl std::error::Error for GraphError {}

impl Graph {
    /// Of names, each with those that must be done before it.
    ///
    /// # Errors
    /// Where it can't be carried out.
    pub fn new<'a>(
        things: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, GraphError> {
        let mut graph = Self::default();
        for (name, after) in things {
            let thing = Thing {
                after: after.into_iter().map(str::to_owned).collect(),
                state: State::Waits,
            };
            if graph.things.insert(name.to_owned(), thing).is_some() {
                return Err(GraphError::Twice(name.to_owned()));
            }
        }
        for (name, thing) in &graph.things {
            if let Some(missing) = thing
                .after
                .iter()
                .find(|before| !graph.things.contains_key(*before))
            {
                return Err(GraphError::Missing(name.clone(), missing.clone()));
            }
        }
        let chains = graph.chains();
        let circle = graph
            .things
            .keys()
            .filter(|name| !chains.contains_key(name.as_str()));
        let circle: Vec<String> = circle.cloned().collect();
        if circle.is_empty() {
            Ok(graph)
        } else {
            Err(GraphError::Circle(circle))
        }
    }

    /// The same in the other direction: what was made last goes first.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut things: BTreeMap<String, Thing> = BTreeMap::new();
        for name in self.things.keys() {
            let after = self
                .things
                .iter()
                .filter(|(_, thing)| thing.after.contains(name));
            let after = after.map(|(other, _)| other.clone()).collect();
            let state = State::Waits;
            things.insert(name.clone(), Thing { after, state });
        }
        Self { things }
    }

    /// What may begin now.
    #[must_use]
    pub fn ready(&self) -> Vec<&str> {
        let is_done = |name: &String| {
            self.things
                .get(name)
                .is_some_and(|thing| thing.state == State::Done)
        };
        let ready = self
            .things
            .iter()
            .filter(|(_, thing)| thing.state == State::Waits && thing.after.iter().all(is_done));
        ready.map(|(name, _)| name.as_str()).collect()
    }

    /// It has begun.
    pub fn begins(&mut self, name: &str) {
        self.set(name, State::Goes);
    }

    /// It is done, or was there already.
    pub fn done(&mut self, name: &str) {
        self.set(name, State::Done);
    }

    /// It has failed: what depends on it will not be made.
    pub fn failed(&mut self, name: &str) {
        self.set(name, State::Failed);
    }

    fn set(&mut self, name: &str, state: State) {
        if let Some(thing) = self.things.get_mut(name) {
            thing.state = state;
        }
    }

    /// Whether nothing goes on, and nothing may begin any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let goes = self.things.values().any(|thing| thing.state == State::Goes);
        !goes && self.ready().is_empty()
    }

    /// What was not made because something else failed, each with the one that did.
    #[must_use]
    pub fn kept_from(&self) -> Vec<(&str, &str)> {
        let waits = self
            .things
            .iter()
            .filter(|(_, thing)| thing.state == State::Waits);
        waits
            .filter_map(|(name, _)| Some((name.as_str(), self.cause(name)?)))
            .collect()
    }

    fn cause(&self, name: &str) -> Option<&str> {
        let thing = self.things.get(name)?;
        thing.after.iter().find_map(|before| {
            let (key, other) = self.things.get_key_value(before)?;
            match other.state {
                State::Failed => Some(key.as_str()),
                State::Waits => self.cause(before),
                State::Goes | State::Done => None,
            }
        })
    }

    /// How many things stand one after the other up to each, itself counted; those in a circle are left out.
    fn chains(&self) -> BTreeMap<&str, usize> {
        let mut chains: BTreeMap<&str, usize> = BTreeMap::new();
        loop {
            let before = chains.len();
            for (name, thing) in &self.things {
                let lengths = thing
                    .after
                    .iter()
                    .map(|other| chains.get(other.as_str()).copied());
                let longest = lengths.collect::<Option<Vec<usize>>>();
                if let Some(longest) = longest {
                    chains.insert(name, longest.into_iter().max().unwrap_or(0) + 1);
                }
            }
            if chains.len() == before {
                return chains;
            }
        }
    }

    /// The longest chain, in things.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.chains().values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, GraphError};

    fn place() -> Graph {
        let things = [
            ("group", vec![]),
            ("cluster", vec!["group"]),
            ("pool", vec!["cluster"]),
            ("storage", vec!["group"]),
            ("container", vec!["storage"]),
            ("identity", vec!["group"]),
            ("credential", vec!["identity", "cluster"]),
            ("role", vec!["identity", "storage"]),
        ];
        Graph::new(things).unwrap()
    }

    #[test]
    fn all_that_depends_on_nothing_missing_begins_at_once() {
        let mut place = place();
        assert_eq!(place.ready(), ["group"]);
        place.begins("group");
        assert_eq!(place.ready(), Vec::<&str>::new());
        assert!(!place.is_over());
        place.done("group");
        assert_eq!(place.ready(), ["cluster", "identity", "storage"]);
        for name in ["cluster", "identity", "storage"] {
            place.begins(name);
        }
        place.done("identity");
        assert_eq!(place.ready(), Vec::<&str>::new());
        place.done("storage");
        assert_eq!(place.ready(), ["container", "role"]);
        assert_eq!(place.depth(), 3);
    }

    #[test]
    fn what_fails_keeps_only_what_depends_on_it_from_being_made() {
        let mut place = place();
        for name in ["group", "identity", "storage"] {
            place.done(name);
        }
        place.failed("cluster");
        assert_eq!(place.ready(), ["container", "role"]);
        place.done("container");
        place.done("role");
        assert!(place.is_over());
        assert_eq!(
            place.kept_from(),
            [("credential", "cluster"), ("pool", "cluster")]
        );
    }

    #[test]
    fn what_was_made_last_goes_first() {
        let mut gone = place().reversed();
        assert_eq!(gone.ready(), ["container", "credential", "pool", "role"]);
        for name in ["container", "credential", "pool", "role"] {
            gone.done(name);
        }
        assert_eq!(gone.ready(), ["cluster", "identity", "storage"]);
        for name in ["cluster", "identity", "storage"] {
            gone.done(name);
        }
        assert_eq!(gone.ready(), ["group"]);
    }

    #[test]
    fn what_can_not_be_carried_out_is_refused() {
        let circle = Graph::new([("a", vec!["b"]), ("b", vec!["a"]), ("c", vec![])]);
        assert_eq!(
            circle,
            Err(GraphError::Circle(vec!["a".to_owned(), "b".to_owned()]))
        );
        let missing = Graph::new([("a", vec!["x"])]);
        assert_eq!(
            missing,
            Err(GraphError::Missing("a".to_owned(), "x".to_owned()))
        );
        let twice = Graph::new([("a", vec![]), ("a", vec![])]);
        assert_eq!(twice, Err(GraphError::Twice("a".to_owned())));
    }
}
