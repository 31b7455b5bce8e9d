//! Several homes and one output: each has its own log, coordinator and workers, and none knows of the others.

use super::launcher::Launcher;
use super::{STEP_MS, Stats, World};
use crate::coordinator::Disk;
use crate::oracle::Oracle;
use crate::oracle::outputs::OutputOracle;
use crate::output::Output;
use crate::plan::{Options, Plan};
use fastrand::Rng;

/// Homes that share an output.
pub(super) struct Town {
    homes: Vec<World>,
    /// What the homes share, while none of them acts.
    output: Output,
    outputs: OutputOracle,
    attempts: u64,
    rng: Rng,
    habits: Habits,
    pub(super) now: u64,
    calm_at: u64,
    stats: Stats,
}

/// What happens in it, in thousandths per second.
struct Habits {
    kill: u32,
    pause: u32,
    power: u32,
    by_hand: u32,
    lose: u32,
    restore: u32,
}

/// How long calm homes may take to the end of their last runs.
const PATIENCE_MS: u64 = 1_500_000;

impl Town {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::with_seed(seed);
        let output = Output::draw(&mut rng, options.broken);
        let count = if rng.u32(0..5) == 0 { 1 } else { 2 };
        let first = Plan::of_a_town(&mut rng, None);
        let job = first.submission.clone();
        let calm_at = first.calm_at_ms;
        let mut homes = vec![World::at_home(rng.u64(..), options, first)];
        while homes.len() < count {
            let plan = Plan::of_a_town(&mut rng, Some(&job));
            homes.push(World::at_home(rng.u64(..), options, plan));
        }
        for (keeper, home) in homes.iter_mut().enumerate() {
            home.keeper = keeper;
            home.plan.calm_at_ms = calm_at;
        }
        let mut chance = |most: u32| {
            if rng.u32(0..3) == 0 {
                0
            } else {
                rng.u32(0..=most)
            }
        };
        let habits = Habits {
            kill: chance(60),
            pause: chance(30),
            power: chance(20),
            by_hand: chance(200),
            lose: chance(60),
            restore: chance(120),
        };
        Self {
            homes,
            output,
            outputs: OutputOracle::default(),
            attempts: 0,
            rng,
            habits,
            now: 0,
            calm_at,
            stats: Stats::default(),
        }
    }

    pub(super) fn run(&mut self) -> Result<Stats, String> {
        loop {
            self.now += STEP_MS;
            if self.now.is_multiple_of(1_000) && self.now < self.calm_at {
                self.faults()?;
            }
            for home in 0..self.homes.len() {
                self.at(home, World::turn)?;
                for place in std::mem::take(&mut self.outputs.strayed) {
                    for home in &mut self.homes {
                        home.oracle.excused.insert(place.clone());
                    }
                }
            }
            if self.homes.iter().all(World::is_done) {
                break;
            }
            if self.now > self.calm_at + PATIENCE_MS {
                return Err("a run does not end although nothing disturbs it".to_owned());
            }
        }
        let mut all = self.stats;
        for home in &mut self.homes {
            home.stats.reused = home.oracle.reused;
            home.stats.taken += home.oracle.taken;
            home.stats.second = home.oracle.second;
            home.stats.committed = home.oracle.committed.len() as u64;
            all.add(&home.stats);
        }
        all.ms = self.now;
        all.of_the_output(&self.output, &self.outputs);
        Ok(all)
    }

    /// A home has the shared things in its hands, as long as it acts.
    fn at(
        &mut self,
        home: usize,
        acts: impl FnOnce(&mut World) -> Result<(), String>,
    ) -> Result<(), String> {
        let home = &mut self.homes[home];
        home.now = self.now;
        std::mem::swap(&mut home.output, &mut self.output);
        std::mem::swap(&mut home.outputs, &mut self.outputs);
        std::mem::swap(&mut home.attempts, &mut self.attempts);
        let result = acts(home);
        std::mem::swap(&mut home.output, &mut self.output);
        std::mem::swap(&mut home.outputs, &mut self.outputs);
        std::mem::swap(&mut home.attempts, &mut self.attempts);
        result
    }

    fn happens(&mut self, permille: u32) -> bool {
        self.rng.u32(0..1_000) < permille
    }

    fn faults(&mut self) -> Result<(), String> {
        if self.happens(self.habits.power) {
            self.stats.power_cuts += 1;
            for home in 0..self.homes.len() {
                self.at(home, World::loses_power)?;
            }
            self.output.power_cut(&mut self.rng)?;
        }
        for home in 0..self.homes.len() {
            if self.happens(self.habits.kill) {
                self.at(home, World::launcher_is_killed)?;
            }
            if !self.homes[home].is_idle() && self.happens(self.habits.pause) {
                let until = self.now + self.rng.u64(100..120_000);
                self.at(home, |home| {
                    home.stands_still(until);
                    Ok(())
                })?;
            }
            if self.homes[home].is_away() && self.happens(self.habits.lose) {
                self.at(home, World::loses_its_log)?;
            }
            if self.homes[home].is_away() && self.happens(self.habits.restore) {
                self.at(home, World::restores_its_log)?;
            }
        }
        if self.homes.iter().all(World::is_away) && self.happens(self.habits.by_hand) {
            self.somebody_tidies_up();
        }
        Ok(())
    }

    /// While no job runs, somebody removes results.
    fn somebody_tidies_up(&mut self) {
        if self.rng.u32(0..20) == 0 {
            self.stats.by_hand += 1;
            self.output.remove_all_by_hand();
            return;
        }
        let places = self.output.places();
        if !places.is_empty() {
            self.stats.by_hand += 1;
            let place = &places[self.rng.usize(0..places.len())];
            self.output.remove_by_hand(place);
        }
    }
}

impl World {
    /// One home of a town.
    fn at_home(seed: u64, options: Options, plan: Plan) -> Self {
        let mut home = Self::with(seed, options, plan);
        home.oracle = Oracle::default();
        home.submitted = true;
        let (at, runs) = (home.rng.u64(0..20_000), home.rng.u32(1..=3));
        let job = home.plan.submission.clone();
        home.launcher = Some(Launcher::new(job, at, runs));
        home.start_at = u64::MAX;
        home
    }

    fn is_done(&self) -> bool {
        let launcher = self.launcher.as_ref();
        launcher.is_none_or(Launcher::is_done)
    }

    fn is_away(&self) -> bool {
        let launcher = self.launcher.as_ref();
        launcher.is_none_or(Launcher::is_away)
    }

    /// Nothing of it runs, or it stands still.
    fn is_idle(&self) -> bool {
        let stands_still = |launcher: &Launcher| launcher.paused_until > self.now;
        self.is_away() || self.launcher.as_ref().is_some_and(stands_still)
    }

    fn loses_power(&mut self) -> Result<(), String> {
        self.launcher_is_killed()?;
        for index in 0..self.workers.len() {
            if self.workers[index].is_some() {
                self.end_process(index);
            }
        }
        Ok(())
    }

    /// kill -9 of `petctl run`: its coordinator goes with it, and its workers live on.
    fn launcher_is_killed(&mut self) -> Result<(), String> {
        if self.is_away() {
            return Ok(());
        }
        self.trace(|| "kill -9 of the launcher".to_owned());
        self.stats.faults += 1;
        self.oracle.has_output = false;
        self.crash()?;
        let until = self.now + self.rng.u64(1_200..30_000);
        if let Some(launcher) = &mut self.launcher {
            launcher.gone(until);
        }
        Ok(())
    }

    fn stands_still(&mut self, until: u64) {
        self.trace(|| format!("the launcher stands still until {until}"));
        self.stats.pauses += 1;
        if let Some(launcher) = &mut self.launcher {
            launcher.paused_until = until;
        }
    }

    /// The home is gone, and a fresh one is made, perhaps elsewhere. Workers of before may live on, and nobody knows of
    /// them.
    fn loses_its_log(&mut self) -> Result<(), String> {
        if self.oracle.lineage == 0 || self.stats.lost_logs == 2 {
            return Ok(());
        }
        self.trace(|| "the home is lost".to_owned());
        self.stats.lost_logs += 1;
        self.stats.taken += self.oracle.taken;
        if self.rng.bool() {
            // Else it is at the same place, and its run is taken for the same.
            self.keeper += 100;
        }
        self.disk = Disk::default();
        self.oracle.forgets(Oracle::default());
        self.copy = None;
        self.reported.clear();
        self.generation += 1;
        if let Some(launcher) = &mut self.launcher {
            launcher.forget();
        }
        self.strangers.fill(true);
        for _ in 0..self.plan.workers {
            self.add_worker();
        }
        Ok(())
    }

    /// An older copy of the log is put back.
    fn restores_its_log(&mut self) -> Result<(), String> {
        if let Some((disk, oracle)) = self.copy.take() {
            self.trace(|| "an older copy of the log is put back".to_owned());
            self.stats.restored_logs += u64::from(oracle.sequence() < self.oracle.sequence());
            self.disk = disk;
            self.oracle.forgets(oracle);
            self.reported.clear();
        }
        Ok(())
    }
}
