//! Measures how long petctl takes to make a place in Azure, to find it made, and to remove it, against how long the
//! service itself takes: against a control plane whose operations take a sixtieth of what Azure's do. Started by
//! `benches/run azure`.

#[expect(dead_code, reason = "rows of other units use the rest")]
#[path = "../../../../benches/src/figure.rs"]
mod figure;
#[path = "../../../../benches/src/machine.rs"]
mod machine;
#[path = "../../../../benches/src/table.rs"]
mod table;

use figure::Rounds;
use petctl_test_azure::{Azure, CLIENT, SECRET, TENANT, World};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use table::Row;

/// A sixtieth of what each takes there, in ms: a cluster 5 minutes, a pool 3, an account 25 s, a registry 15 s.
const DELAYS_MS: [(&str, u64); 4] = [
    ("Microsoft.ContainerService/managedClusters", 5_000),
    (
        "Microsoft.ContainerService/managedClusters/agentPools",
        3_000,
    ),
    ("Microsoft.Storage/storageAccounts", 420),
    ("Microsoft.ContainerRegistry/registries", 250),
];
/// What the longest chain of them comes to: the cluster, then its two pools, one after the other, as the service wants
/// operations on one cluster; removed, the cluster alone.
const CHAIN: Duration = Duration::from_secs(5 + 3 + 3);
const REMOVAL: Duration = Duration::from_secs(5);

struct Options {
    petctl: PathBuf,
    folder: PathBuf,
    commit: String,
    rounds: usize,
}

/// What one round came to, in seconds.
struct Round {
    made: f64,
    again: f64,
    changes_again: usize,
    removed: f64,
}

fn main() -> ExitCode {
    match options().and_then(|options| measure(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            table::say(&format!("benches: {error}"));
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        petctl: PathBuf::from("petctl"),
        folder: std::env::temp_dir(),
        commit: "unknown".to_owned(),
        rounds: 3,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} has no value"));
        match word.as_str() {
            "--petctl" => options.petctl = fs::canonicalize(value()?)?,
            "--folder" => options.folder = value()?.into(),
            "--commit" => options.commit = value()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--quick" => options.rounds = 1,
            _ => {
                return Err(format!(
                    "{word} is not known: --petctl, --folder, --commit, --rounds, --quick"
                )
                .into());
            }
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<bool, Box<dyn Error>> {
    fs::create_dir_all(&options.folder)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        table::say(&format!("round {number} of {}", options.rounds));
        rounds.push(round(&options.petctl, &options.folder)?);
    }
    let seconds = |value: f64| format!("{value:.2} s");
    let row = |what: &str, values: Vec<f64>, aim: f64, aim_shown: String, beside: &str| {
        let values = Rounds::new(values);
        Row {
            what: what.to_owned(),
            aim: aim_shown,
            measured: seconds(values.median()),
            met: Some(values.median() <= aim),
            beside: format!("{beside}; {}", values.spread(seconds)),
        }
    };
    let chain = CHAIN.as_secs_f64();
    let removal = REMOVAL.as_secs_f64();
    let of = |get: fn(&Round) -> f64| rounds.iter().map(get).collect::<Vec<_>>();
    let rows = [
        row(
            "setup of a whole place: 12 resources",
            of(|round| round.made),
            chain * 1.1,
            format!("within 10 % of {}", seconds(chain)),
            "the longest chain of operations, one at a time on the cluster",
        ),
        row(
            "setup again, nothing to do",
            of(|round| round.again),
            2.0,
            "2 s, reads alone".to_owned(),
            "requests that change something: 0",
        ),
        row(
            "delete-resources",
            of(|round| round.removed),
            removal * 1.1,
            format!("within 10 % of {}", seconds(removal)),
            "the longest operation",
        ),
    ];
    table::print(&machine::describe(&options.commit, &options.folder));
    table::print(&table::render(&rows));
    let changes: usize = rounds.iter().map(|round| round.changes_again).sum();
    if changes > 0 {
        table::say(&format!(
            "setup again sent {changes} requests that change something"
        ));
    }
    Ok(changes == 0)
}

fn round(petctl: &Path, folder: &Path) -> Result<Round, Box<dyn Error>> {
    let folder = folder.join(format!("azure-{}", std::process::id()));
    fs::create_dir_all(folder.join("work"))?;
    let mut world = World::default();
    for (kind, delay_ms) in DELAYS_MS {
        world
            .delays
            .insert(kind.to_owned(), Duration::from_millis(delay_ms));
    }
    world.delays.insert("delete".to_owned(), REMOVAL);
    let azure = Azure::with(&folder.join("azure"), world);
    fs::write(folder.join("work/petctl.toml"), azure.place_file())?;
    let timed = |words: &[&str]| -> Result<f64, Box<dyn Error>> {
        let begun = Instant::now();
        let output = Command::new(petctl)
            .args(words)
            .current_dir(folder.join("work"))
            .env("PETCTL_HOME", folder.join("home"))
            .env("HOME", folder.join("work"))
            .env("SSL_CERT_FILE", azure.ca_file())
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_CLIENT_SECRET", SECRET)
            .stdin(Stdio::null())
            .output()?;
        let took = begun.elapsed().as_secs_f64();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("petctl {}: {}\n{said}", words.join(" "), output.status).into());
        }
        Ok(took)
    };
    let setup = ["setup", "--only", "azure", "--yes"];
    let made = timed(&setup)?;
    azure.forget_requests();
    let again = timed(&setup)?;
    let asks = |path: &str| {
        let path = path.to_ascii_lowercase();
        path.ends_with("/token") || path.ends_with("/listclusterusercredential")
    };
    let requests = azure.requests();
    let changes_again = requests
        .iter()
        .filter(|seen| seen.method != "GET" && !asks(&seen.path))
        .count();
    let removed = timed(&["delete-resources", "--yes"])?;
    let left = azure.resources();
    drop(azure);
    fs::remove_dir_all(&folder)?;
    if !left.is_empty() {
        return Err(format!("left: {:?}", left.keys()).into());
    }
    Ok(Round {
        made,
        again,
        changes_again,
        removed,
    })
}
