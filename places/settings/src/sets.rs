//! `--set place.NAME.KEY=VALUE`: for one run above what the files say.

/// One `--set` for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key with its dots: `place.gpu.image`.
    pub path: String,
    /// The value: TOML, or text as it is; `None`: there was no `=`.
    pub value: Option<String>,
}

/// The `--set` of a command line, by whom they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// Those of places.
    pub places: Vec<Override>,
    /// Those of the job file, as they were typed.
    pub job: Vec<String>,
}

impl Sets {
    /// Splits them: keys that begin with `place.` are of places.
    #[must_use]
    pub fn split(sets: &[String]) -> Self {
        let mut split = Self::default();
        for set in sets {
            let (path, value) = match set.split_once('=') {
                Some((path, value)) => (path, Some(value)),
                None => (set.as_str(), None),
            };
            let path = path.trim();
            if path == "place" || path.starts_with("place.") {
                split.places.push(Override {
                    path: path.to_owned(),
                    value: value.map(str::to_owned),
                });
            } else {
                split.job.push(set.clone());
            }
        }
        split
    }
}
