//! A place goes: what petctl made for it, by its tags and by its record, and nothing else; and it is proved that nothing
//! is left.

use crate::apply::ended;
use crate::client::Arm;
use crate::place::check;
use futures::future::join_all;
use petctl_azure::{Blueprint, Kind, Refused, Resource, ResourceId};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Version of the interface by which a group is listed.
const LISTING: &str = "2025-04-01";

/// A place that is to go.
#[derive(Debug)]
pub struct Removal<'a> {
    arm: &'a Arm,
    /// What goes, in the order in which it may.
    pub doomed: Vec<Resource>,
    /// What is there and stays, each with why.
    pub stays: Vec<(String, String)>,
}

impl<'a> Removal<'a> {
    /// Finds out what is to go. `recorded`: the ids that were written down before they were made.
    ///
    /// # Errors
    /// Where the service does not answer or refuses.
    pub async fn look(
        arm: &'a Arm,
        blueprint: &Blueprint,
        recorded: &BTreeSet<ResourceId>,
        keeps_data: bool,
    ) -> Result<Self> {
        let mut resources = check(blueprint)?;
        // What the place has named before, and does not any more.
        let before = recorded.iter().cloned();
        let before: Vec<ResourceId> = before.chain(tagged(arm, blueprint).await?).collect();
        for id in before {
            let known = resources.iter().any(|resource| resource.id == id);
            if let Some(kind) = Kind::of(&id).filter(|_| !known) {
                let shown = id.name().to_owned();
                resources.push(Resource {
                    id,
                    kind,
                    shown,
                    needs: Vec::new(),
                });
            }
        }
        let asked = resources.iter().map(|resource| async move {
            let there = arm.get(&resource.id, resource.kind.api_version()).await?;
            Ok::<_, Error>((resource, there))
        });
        let mut there = Vec::new();
        for answer in join_all(asked).await {
            let (resource, found) = answer?;
            if let Some(found) = found {
                there.push((resource, found));
            }
        }
        let mut removal = Self {
            arm,
            doomed: Vec::new(),
            stays: Vec::new(),
        };
        let ours = |resource: &Resource, found: &Value| {
            let parent_is_ours = || {
                there.iter().any(|(parent, found)| {
                    parent.kind.has_tags()
                        && parent.id != resource.id
                        && parent.kind != Kind::Group
                        && resource.id.is_within(&parent.id)
                        && blueprint.is_ours(found)
                })
            };
            blueprint.is_ours(found) || recorded.contains(&resource.id) || parent_is_ours()
        };
        let mut groups = Vec::new();
        for (resource, found) in there.iter().rev() {
            let stays = if !ours(resource, found) {
                Some("petctl did not make it")
            } else if keeps_data && resource.kind.is_data() {
                Some("--keep-data")
            } else {
                None
            };
            if let Some(why) = stays {
                removal.stays.push((resource.to_string(), why.to_owned()));
            } else if resource.kind == Kind::Group {
                groups.push(*resource);
            } else {
                removal.doomed.push((*resource).clone());
            }
        }
        for group in groups {
            removal.look_at_group(group).await?;
        }
        Ok(removal)
    }

    /// The group goes last, and only where nothing stays in it.
    async fn look_at_group(&mut self, group: &Resource) -> Result<()> {
        let listed = self
            .arm
            .list(&format!("{}/resources", group.id), LISTING)
            .await?;
        let ids = listed.iter().filter_map(|entry| entry.get("id")?.as_str());
        let others: Vec<&str> = ids
            .filter(|id| {
                let id = ResourceId::parse(id);
                !self
                    .doomed
                    .iter()
                    .any(|doomed| id.as_ref().is_some_and(|id| id.is_within(&doomed.id)))
            })
            .collect();
        if others.is_empty() {
            self.doomed.push(group.clone());
        } else {
            let why = format!("it holds other things: {}", shortened(&others));
            self.stays.push((group.to_string(), why));
        }
        Ok(())
    }

    /// Removes it, and asks of each whether it is gone. What is part of another one goes with it.
    ///
    /// # Errors
    /// The first that can't be removed, once all the others are; what is there still.
    pub async fn carry_out(&self, say: &(dyn Fn(&Resource, Duration) + Sync)) -> Result<()> {
        // A group is one operation, which removes all that is in it at once.
        let all = self.doomed.iter();
        let first = all.filter(|doomed| !self.is_part(doomed));
        let removed = join_all(first.map(|doomed| self.remove(doomed, say))).await;
        removed.into_iter().collect::<Result<()>>()?;
        self.prove().await
    }

    fn is_part(&self, of: &Resource) -> bool {
        let mut others = self.doomed.iter().filter(|other| other.id != of.id);
        others.any(|other| of.id.is_within(&other.id))
    }

    async fn remove(
        &self,
        doomed: &Resource,
        say: &(dyn Fn(&Resource, Duration) + Sync),
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            let removed = self
                .arm
                .delete(&doomed.id, doomed.kind.api_version())
                .await?;
            let why: Refused = match removed {
                Ok(_) => {
                    say(doomed, begun.elapsed());
                    return Ok(());
                }
                Err(why) => why,
            };
            if !why.trouble().is_short() || !self.arm.waits_since(begun).await {
                return ended(&format!("can't remove {doomed}"), Err(why));
            }
        }
    }

    /// Each of them answers 404.
    async fn prove(&self) -> Result<()> {
        let asked = self.doomed.iter().map(|doomed| async move {
            let there = self.arm.get(&doomed.id, doomed.kind.api_version()).await?;
            Ok::<_, Error>(there.is_some().then_some(doomed))
        });
        let mut left = Vec::new();
        for answer in join_all(asked).await {
            left.extend(answer?.map(ToString::to_string));
        }
        if left.is_empty() {
            return Ok(());
        }
        let what = format!("still there: {}", shortened(&left));
        Err(Error::new(Code::AzureBusy, what).fix("give the command again"))
    }
}

/// What of the place's group has its tag.
async fn tagged(arm: &Arm, blueprint: &Blueprint) -> Result<Vec<ResourceId>> {
    let group = blueprint
        .group_id()
        .map_err(|why| Error::new(Code::BadPlace, why).fix("change it in petctl.toml"))?;
    let listed = arm.list(&format!("{group}/resources"), LISTING).await?;
    let ours = listed.iter().filter(|entry| blueprint.is_ours(entry));
    Ok(ours
        .filter_map(|entry| ResourceId::parse(entry.get("id")?.as_str()?))
        .collect())
}

/// The first few of a list.
fn shortened(all: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<&str> = all.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let first = first.join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
