//! A place comes to be: every resource is looked at, and what is missing or other is made, all that may be made at once
//! at once.

use crate::client::{Arm, Ended, PATIENCE};
use crate::error::refused;
use crate::place::check;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use petctl_azure::{
    Blueprint, Graph, Kind, Known, Operation, Refused, Resource, ResourceId, Step, Trouble,
    is_same_right,
};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Version of the interface by which providers are registered.
const PROVIDERS: &str = "2025-04-01";

/// A resource that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// Which one.
    pub resource: Resource,
    /// What has to be done about it.
    pub step: Step,
}

impl Looked {
    /// Why nothing can be done about it, before anything is.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        matches!(self.step, Step::Replace(_) | Step::Foreign)
            .then(|| unable(&self.resource, &self.step, "; nothing was changed"))
    }
}

/// What was done about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing: it was there.
    Same,
    /// It was made.
    Made,
    /// It was changed.
    Changed,
    /// Not yet: it is tried again, because of this.
    Waits(String),
}

/// A place that is to come to be.
#[derive(Debug)]
pub struct Plan<'a> {
    arm: &'a Arm,
    blueprint: &'a Blueprint,
    resources: Vec<Resource>,
    adopts: bool,
}

/// Told of each resource once it is as it should be, and the first time that it has to wait.
type Say<'a> = &'a (dyn Fn(&Resource, &Applied, Duration) + Sync);
/// Told of each resource before it is made: what is written down then is what a removal finds again.
type Note<'a> = &'a (dyn Fn(&Resource) -> Result<()> + Sync);

impl<'a> Plan<'a> {
    /// `adopts`: what others have made is used and changed as well.
    ///
    /// # Errors
    /// Where the place can't be, whatever is there.
    pub fn new(arm: &'a Arm, blueprint: &'a Blueprint, adopts: bool) -> Result<Self> {
        let resources = check(blueprint)?;
        Ok(Self {
            arm,
            blueprint,
            resources,
            adopts,
        })
    }

    /// The same for one resource alone, which must be there.
    #[must_use]
    pub fn only(mut self, kind: Kind, name: &str) -> Self {
        self.resources
            .retain(|resource| resource.kind == kind && resource.shown == name);
        for resource in &mut self.resources {
            resource.needs.clear();
        }
        self
    }

    /// Looks at everything, changes nothing: what [`Self::apply`] would do.
    ///
    /// # Errors
    /// Where the service does not answer or refuses.
    pub async fn look(&self) -> Result<Vec<Looked>> {
        let asked = self.resources.iter().map(|resource| async move {
            let there = self.get(resource).await?;
            Ok::<_, Error>(there.map(|there| (resource.id.clone(), there)))
        });
        let mut known = Known::new();
        for answer in join_all(asked).await {
            known.extend(answer?);
        }
        let known = &known;
        let looked = self.resources.iter().map(|resource| async move {
            let mut step = self.step(resource, known.get(&resource.id), known);
            if let Step::Make(body) = &step
                && self.given_otherwise(resource, body).await?.is_some()
            {
                step = Step::Same;
            }
            Ok(Looked {
                resource: resource.clone(),
                step,
            })
        });
        join_all(looked).await.into_iter().collect()
    }

    /// Makes it so. Where something fails, what does not depend on it is made all the same, and the first failure is the
    /// answer.
    ///
    /// # Errors
    /// As [`Self::look`], and what is there but can't become what it should be.
    pub async fn apply(&self, note: Note<'_>, say: Say<'_>) -> Result<Known> {
        let things = self.resources.iter().map(|resource| {
            let needs = resource.needs.iter().map(ResourceId::as_str).collect();
            (resource.id.as_str(), needs)
        });
        let mut graph = Graph::new(things).map_err(|error| {
            Error::new(Code::Bug, "the plan contradicts itself").because(&error)
        })?;
        let mut known = Known::new();
        let mut failed = None;
        let mut going = FuturesUnordered::new();
        loop {
            let ready: Vec<String> = graph.ready().into_iter().map(str::to_owned).collect();
            for name in ready {
                graph.begins(&name);
                let found = self.resources.iter().find(|one| one.id.as_str() == name);
                if let Some(resource) = found {
                    going.push(self.settle(resource, known.clone(), note, say));
                }
            }
            let Some((resource, ended)) = going.next().await else {
                break;
            };
            match ended {
                Ok(there) => {
                    known.insert(resource.id.clone(), there);
                    graph.done(resource.id.as_str());
                }
                Err(error) => {
                    graph.failed(resource.id.as_str());
                    tracing::info!(%resource, code = error.code(), "failed");
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(known), Err)
    }

    fn step(&self, resource: &Resource, there: Option<&Value>, known: &Known) -> Step {
        if self.adopts {
            self.blueprint.step_of_ours(resource, there, known)
        } else {
            self.blueprint.step(resource, there, known)
        }
    }

    async fn get(&self, resource: &Resource) -> Result<Option<Value>> {
        self.arm
            .get(&resource.id, resource.kind.api_version())
            .await
    }

    /// A right that somebody has already, under another name: it can't be given twice.
    async fn given_otherwise(&self, resource: &Resource, body: &Value) -> Result<Option<Value>> {
        if resource.kind != Kind::Role {
            return Ok(None);
        }
        let id = resource.id.as_str();
        let scope = id
            .rfind("/providers/")
            .and_then(|at| id.get(..at))
            .unwrap_or(id);
        let principal = body.pointer("/properties/principalId");
        let path = format!(
            "{scope}/providers/Microsoft.Authorization/roleAssignments?$filter=principalId eq '{}'",
            principal.and_then(Value::as_str).unwrap_or_default()
        );
        let all = self.arm.list(&path, resource.kind.api_version()).await?;
        Ok(all.into_iter().find(|given| is_same_right(given, body)))
    }

    async fn settle(
        &self,
        resource: &'a Resource,
        known: Known,
        note: Note<'_>,
        say: Say<'_>,
    ) -> (&'a Resource, Result<Value>) {
        let begun = Instant::now();
        let done = self.make_so(resource, &known, note, say).await;
        if let Ok((_, applied)) = &done {
            say(resource, applied, begun.elapsed());
        }
        (resource, done.map(|(there, _)| there))
    }

    async fn make_so(
        &self,
        resource: &Resource,
        known: &Known,
        note: Note<'_>,
        say: Say<'_>,
    ) -> Result<(Value, Applied)> {
        let api_version = resource.kind.api_version();
        let begun = Instant::now();
        let mut applied = Applied::Same;
        let mut waits = false;
        loop {
            let mut there = self.get(resource).await?;
            if let Some(method) = there.as_ref().and_then(Operation::under_way) {
                // Begun by somebody else, or by this program before it was killed. How it ends shows below.
                let _ended = self.arm.settled(method, &resource.id, api_version).await?;
                there = self.get(resource).await?;
            }
            let broken = there.as_ref().is_some_and(Operation::has_failed);
            let mut step = self.step(resource, there.as_ref(), known);
            // A last operation that failed is given again.
            if step == Step::Same
                && broken
                && applied == Applied::Same
                && let Step::Make(body) = self.blueprint.step(resource, None, known)
            {
                step = Step::Change(body, Vec::new());
            }
            let ended = match step {
                Step::Same => return Ok((there.unwrap_or(Value::Null), applied)),
                Step::Make(body) => {
                    if let Some(given) = self.given_otherwise(resource, &body).await? {
                        return Ok((given, applied));
                    }
                    note(resource)?;
                    applied = Applied::Made;
                    self.arm.put(&resource.id, api_version, &body).await?
                }
                Step::Change(body, _) => {
                    applied = Applied::Changed;
                    self.arm.put(&resource.id, api_version, &body).await?
                }
                Step::Renew(_) => self.arm.delete(&resource.id, api_version).await?,
                step @ (Step::Replace(_) | Step::Foreign | Step::Later) => {
                    return Err(unable(resource, &step, ""));
                }
            };
            match ended {
                // Looked at once more only where nothing is known of it: a right that was removed to be made anew.
                Ok(Value::Null) => {}
                Ok(there) => return Ok((there, applied)),
                Err(why) => {
                    let trouble = why.trouble();
                    let goes_on = trouble.is_short() || trouble == Trouble::NotRegistered;
                    if goes_on && !waits {
                        waits = true;
                        say(resource, &Applied::Waits(why.to_string()), begun.elapsed());
                    }
                    self.recover(resource, why, begun).await?;
                }
            }
        }
    }

    /// Waits for what passes by itself, or mends it; else that is the answer.
    async fn recover(&self, resource: &Resource, why: Refused, begun: Instant) -> Result<()> {
        let trouble = why.trouble();
        if trouble == Trouble::NotRegistered
            && let Some(provider) = resource.kind.provider()
        {
            return self.register(provider).await;
        }
        // What is there already was made by somebody who was faster: it is found at the next look.
        let passes = trouble.is_short() || trouble == Trouble::There;
        if passes && self.arm.waits_since(begun).await {
            return Ok(());
        }
        Err(refused(&format!("can't make {resource}"), &why))
    }

    async fn register(&self, provider: &str) -> Result<()> {
        let at = format!(
            "/subscriptions/{}/providers/{provider}",
            self.blueprint.subscription
        );
        tracing::warn!(provider, "registers the provider in the subscription");
        self.arm
            .ask(&format!("{at}/register"), PROVIDERS, "")
            .await?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let there = self.arm.read(&at, PROVIDERS).await?;
            let state = there
                .as_ref()
                .and_then(|there| there.get("registrationState"));
            if state.and_then(Value::as_str) == Some("Registered") {
                return Ok(());
            }
            tokio::time::sleep(self.arm.pace().after(begun.elapsed())).await;
        }
        let what = format!("provider {provider} is still being registered");
        Err(Error::new(Code::AzureBusy, what).fix("give the command again later"))
    }
}

/// Why nothing can be done about a resource; `so_far` says what was done before.
fn unable(resource: &Resource, step: &Step, so_far: &str) -> Error {
    match step {
        Step::Foreign => Error::new(
            Code::AzureNotOurs,
            format!("{resource} is there, and petctl did not make it for this place{so_far}"),
        )
        .fix("take it over with --adopt: it is changed to what the place says, and never removed; or choose another name"),
        Step::Replace(why) => Error::new(
            Code::AzureReplace,
            format!(
                "{resource} can't become what the place says: {} can't be changed{so_far}",
                why.join(", ")
            ),
        )
        .fix("give the new one another name in the place, or set the place back to what is there"),
        Step::Same | Step::Make(_) | Step::Change(..) | Step::Renew(_) | Step::Later => Error::new(
            Code::AzureBusy,
            format!("can't make {resource}: the service has not said yet what it is made of"),
        )
        .fix("give the command again"),
    }
}

/// What a request that changes something came to, for those who remove.
pub(crate) fn ended(tried: &str, ended: Ended) -> Result<()> {
    ended.map(drop).map_err(|why| refused(tried, &why))
}
