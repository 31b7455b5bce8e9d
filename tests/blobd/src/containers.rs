//! Containers made, described and deleted.

use crate::answer::{empty, stamped};
use crate::pieces::Answer;
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::store::{Container, Service};
use hyper::StatusCode;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub(crate) fn create(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    let metadata = asked.metadata()?;
    match service.containers().entry(asked.container.clone()) {
        Entry::Occupied(_) => Err(Refusal::container_already_exists()),
        Entry::Vacant(place) => {
            let made = place.insert(Container {
                stamp: service.stamp(),
                metadata,
                blobs: BTreeMap::new(),
                staged: BTreeMap::new(),
            });
            Ok(stamped(StatusCode::CREATED, &made.stamp))
        }
    }
}

pub(crate) fn properties(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    service.within(&asked.container, |container| {
        let mut answer = stamped(StatusCode::OK, &container.stamp);
        for (name, value) in &container.metadata {
            answer.headers_mut().insert(name, value.clone());
        }
        Ok(answer)
    })
}

pub(crate) fn delete(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    match service.containers().remove(&asked.container) {
        Some(_) => Ok(empty(StatusCode::ACCEPTED)),
        None => Err(Refusal::container_not_found()),
    }
}
