//! Training jobs of tests, and what their ranks noted.

use crate::wait::wait_for;
use crate::world::{World, quoted};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A rank: notes its environment and what it finds alive of older epochs, then does as it is ordered until `end`.
///
/// A process is told by its id and the moment of its birth (field 22 of proc(5)'s stat): ids come again.
const RANK: &str = r#"read -r stat < /proc/$$/stat
set -- $stat
me="epoch=$PETCTL_EPOCH rank=$RANK pid=$$ born=${22}"
note() { echo "$1 $me $2" >> notes; }
save() { echo "$1" > "$PETCTL_CHECKPOINT_DIR/step-$1" && : > "$PETCTL_CHECKPOINT_DIR/step-$1.complete"; }
trap 'note term; [ ! -e orders/term ] || . ./orders/term; exit 143' TERM
note start "world=$WORLD_SIZE local=$LOCAL_RANK local_world=$LOCAL_WORLD_SIZE group=$GROUP_RANK group_world=$GROUP_WORLD_SIZE addr=$MASTER_ADDR port=$MASTER_PORT restarts=$TORCHELASTIC_RESTART_COUNT max_restarts=$TORCHELASTIC_MAX_RESTARTS worker=$PETCTL_WORKER_ID resume_step=${PETCTL_RESUME_STEP-} resume_from=${PETCTL_RESUME_FROM-} host=${IT_HOST-}"
while read -r what epoch rank pid born rest; do
    if [ "$what" = start ] && [ "$epoch" != "epoch=$PETCTL_EPOCH" ] && { read -r stat < "/proc/${pid#pid=}/stat"; } 2> /dev/null; then
        set -- $stat
        # A zombie has ended, and a stopped one does nothing.
        case "born=${22} $3" in "$born Z" | "$born X" | "$born T") ;; "$born "*) note overlap "by=$PETCTL_WORKER_ID $epoch $rank $rest" ;; esac
    fi
done < notes
"#;

/// Does what is ordered.
const OBEY: &str = r#"while [ ! -e orders/end ]; do
    for order in "all.$RANK" "$PETCTL_EPOCH.all" "$PETCTL_EPOCH.$RANK"; do
        if [ -e "orders/$order" ]; then . "./orders/$order"; fi
    done
    sleep 0.05
done
note done"#;

/// A job of one training stage, `fit`.
#[derive(Clone, Debug)]
pub struct Training {
    name: String,
    pool: String,
    stage: String,
    grace: String,
    script: Option<String>,
    command: Vec<String>,
}

/// What a rank noted when it started.
#[derive(Clone, Debug)]
pub struct Rank {
    /// PETCTL_EPOCH.
    pub epoch: u64,
    /// RANK.
    pub rank: u32,
    /// Its process.
    pub pid: u32,
    /// WORLD_SIZE.
    pub world: u32,
    /// PETCTL_WORKER_ID.
    pub worker: String,
    /// PETCTL_RESUME_STEP.
    pub resume_step: Option<u64>,
    fields: BTreeMap<String, String>,
}

/// All ranks of an epoch.
#[derive(Clone, Debug)]
pub struct RankGroup {
    /// Its number.
    pub epoch: u64,
    /// In the order of their ranks.
    pub ranks: Vec<Rank>,
}

impl Training {
    /// A job whose ranks obey orders, with so many workers: at least, at most (and wanted).
    pub fn new(name: &str, min: u32, max: u32) -> Self {
        Self {
            name: name.to_owned(),
            pool: format!("min = {min}\nmax = {max}\n"),
            stage: String::new(),
            grace: "2s".to_owned(),
            script: Some(OBEY.to_owned()),
            command: Vec::new(),
        }
    }

    /// More lines of `[workers]`.
    #[must_use]
    pub fn pool(mut self, lines: &str) -> Self {
        self.pool.push_str(&format!("{lines}\n"));
        self
    }

    /// More lines of the stage.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.stage.push_str(&format!("{lines}\n"));
        self
    }

    /// How long ranks may take to end after SIGTERM, instead of 2 s.
    #[must_use]
    pub fn grace(mut self, time: &str) -> Self {
        time.clone_into(&mut self.grace);
        self
    }

    /// What ranks do after they have noted their starts, instead of obeying orders.
    #[must_use]
    pub fn script(mut self, body: &str) -> Self {
        self.script = Some(body.to_owned());
        self
    }

    /// What ranks run, without any note.
    #[must_use]
    pub fn command(mut self, command: &[&str]) -> Self {
        self.script = None;
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the job file and its script into the job folder; answers the file's name.
    ///
    /// # Panics
    /// Where they can't be written.
    pub fn write(&self, world: &World) -> String {
        fs::create_dir_all(world.job_folder().join("orders")).expect("a folder of orders");
        let script = format!("{}.sh", self.name);
        let command = match &self.script {
            Some(body) => {
                world.script(&script, &format!("{RANK}{body}"));
                vec![format!("./{script}")]
            }
            None => self.command.clone(),
        };
        let text = format!(
            "[job]\nname = {:?}\n\n[workers]\n{}\n[storage]\noutput = {}\n\n[[stage]]\nname = \"fit\"\n\
             kind = \"train\"\ncommand = {command:?}\ngrace = {:?}\n{}",
            self.name,
            self.pool,
            quoted(&world.output()),
            self.grace,
            self.stage
        );
        let file = format!("{}.toml", self.name);
        fs::write(world.job_folder().join(&file), text).expect("a job file can be written");
        file
    }
}

impl Rank {
    fn parse(line: &str) -> Option<Self> {
        let fields: BTreeMap<String, String> = line
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Self {
            epoch: fields.get("epoch")?.parse().ok()?,
            rank: fields.get("rank")?.parse().ok()?,
            pid: fields.get("pid")?.parse().ok()?,
            world: fields.get("world")?.parse().ok()?,
            worker: fields.get("worker")?.clone(),
            resume_step: fields.get("resume_step")?.parse().ok(),
            fields,
        })
    }

    /// Another thing that it noted; empty where it has not.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Another thing that it noted, as a number.
    ///
    /// # Panics
    /// Where it is none.
    pub fn number(&self, name: &str) -> u64 {
        self.field(name)
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {self:?}"))
    }

    /// Whether this very process lives: no other one with its id, and no zombie.
    pub fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').collect())
            .unwrap_or_default();
        // State is field 3 and the start 22; what is split begins with field 3.
        fields
            .first()
            .is_some_and(|state| !matches!(*state, "Z" | "X"))
            && fields
                .get(19)
                .is_some_and(|born| *born == self.field("born"))
    }
}

impl RankGroup {
    /// The ranks that a worker started.
    pub fn of(&self, worker_id: &str) -> Vec<&Rank> {
        self.ranks
            .iter()
            .filter(|rank| rank.worker == worker_id)
            .collect()
    }

    /// The ids of its workers, in the order of their ranks.
    pub fn workers(&self) -> Vec<String> {
        let mut workers: Vec<String> = self.ranks.iter().map(|rank| rank.worker.clone()).collect();
        workers.dedup();
        workers
    }
}

impl World {
    /// Lines that ranks noted of themselves: `start`, `overlap`, `term`, `done`, or what a test's script calls it.
    pub fn notes(&self, what: &str) -> Vec<String> {
        let text = fs::read_to_string(self.job_folder().join("notes")).unwrap_or_default();
        // The last line may be half written while it is read.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let starts = |line: &&str| line.split(' ').next() == Some(what);
        whole.lines().filter(starts).map(str::to_owned).collect()
    }

    /// What ranks noted at their starts.
    pub fn ranks(&self) -> Vec<Rank> {
        self.notes("start")
            .iter()
            .filter_map(|line| Rank::parse(line))
            .collect()
    }

    /// Waits until all ranks of the newest epoch, one after `after`, have started, and are so many.
    pub fn group_after(&self, after: u64, size: u32) -> RankGroup {
        wait_for(
            &format!("a group of {size} in an epoch after {after}"),
            || {
                let mut ranks = self.ranks();
                let epoch = ranks.iter().map(|rank| rank.epoch).max()?;
                ranks.retain(|rank| rank.epoch == epoch);
                ranks.sort_by_key(|rank| rank.rank);
                let all = ranks.len() as u64 == u64::from(size)
                    && ranks.iter().all(|rank| rank.world == size);
                (epoch > after && all).then_some(RankGroup { epoch, ranks })
            },
        )
    }

    /// Orders ranks to do something: `all.RANK`, `EPOCH.all` or `EPOCH.RANK`; `term` is done by all on SIGTERM, and
    /// `end` ends all. A rank does it again and again, unless it ends of it.
    ///
    /// # Panics
    /// Where it can't be written.
    pub fn order(&self, to: &str, body: &str) {
        let orders = self.job_folder().join("orders");
        let draft = orders.join(format!("{to}.draft"));
        fs::write(&draft, format!("{body}\n")).expect("an order can be written");
        fs::rename(&draft, orders.join(to)).expect("an order can be given");
    }

    /// Orders one rank to do something once.
    pub fn order_once(&self, epoch: u64, rank: u32, body: &str) {
        let to = format!("{epoch}.{rank}");
        self.order(&to, &format!("rm -f orders/{to}\n{body}"));
    }

    /// Holds the epochs to what every test promises: one set of ranks at any time, numbered 0..n-1, all with the same
    /// idea of the group and its master.
    ///
    /// # Panics
    /// Where they were not.
    pub fn verify_epochs(&self) {
        self.verify_epochs_but_of(&BTreeSet::new());
    }

    /// As [`Self::verify_epochs`], where ranks of these workers stood still with their host, were given up, and ran on
    /// from when they woke until their worker, which woke with them, had killed them.
    ///
    /// # Panics
    /// Where they were not.
    pub fn verify_epochs_but_of(&self, woken: &BTreeSet<String>) {
        let mut overlaps = self.notes("overlap");
        overlaps.retain(|line| {
            // Whose rank found it, and whose was found: either may be of one that woke.
            let id = |name| line.split(' ').find_map(|field| field.strip_prefix(name));
            let workers = [id("by="), id("worker=")];
            !workers
                .into_iter()
                .flatten()
                .any(|worker| woken.contains(worker))
        });
        assert!(
            overlaps.is_empty(),
            "ranks of an older epoch were alive when a new one started:\n{}",
            overlaps.join("\n")
        );
        self.verify_ranks();
    }

    /// As [`Self::verify_epochs`], where a host that was cut off may run an older epoch for a while.
    ///
    /// # Panics
    /// Where they were not.
    pub fn verify_ranks(&self) {
        let mut epochs: BTreeMap<u64, Vec<Rank>> = BTreeMap::new();
        for rank in self.ranks() {
            epochs.entry(rank.epoch).or_default().push(rank);
        }
        for (epoch, ranks) in epochs {
            let numbers: BTreeSet<u32> = ranks.iter().map(|rank| rank.rank).collect();
            assert_eq!(
                numbers.len(),
                ranks.len(),
                "a rank of epoch {epoch} was started twice: {ranks:#?}"
            );
            let same = |name: &str| {
                let values: BTreeSet<&str> = ranks.iter().map(|rank| rank.field(name)).collect();
                assert_eq!(
                    values.len(),
                    1,
                    "{name} of the ranks of epoch {epoch}: {values:?}"
                );
            };
            for name in ["world", "group_world", "port", "restarts", "resume_step"] {
                same(name);
            }
            assert!(
                ranks.iter().all(|rank| rank.rank < rank.world),
                "a rank of epoch {epoch} is out of its world: {ranks:#?}"
            );
        }
    }
}
