//! Progress of rounds, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use blindsmith_identity::PublicKey;
use blindsmith_protocol::{Id, Progress};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::answer::Answer;
use super::gate::Caller;
use super::problem::HttpRefusal;
use super::service::Service;
use super::shares::Share;
use crate::clock;

/// One who watches.
struct Watcher {
    service: Arc<Service>,
    project: Id,
    changed: watch::Receiver<()>,
    ending: watch::Receiver<bool>,
    sent: Option<Progress>,
    over: bool,
    _place: OwnedSemaphorePermit,
    _share: Share<PublicKey>,
}

pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let place = service.watchers.clone().try_acquire_owned();
    let place = place.map_err(|_| HttpRefusal::busy("too many clients follow events: try again", 10))?;
    let share = service.watching.take(caller.key);
    let share =
        share.ok_or_else(|| HttpRefusal::busy("too many follow events with this key: try again", 10))?;
    let watcher = Watcher {
        changed: service.shared.changed.subscribe(),
        ending: service.ending.subscribe(),
        service,
        project,
        sent: None,
        over: false,
        _place: place,
        _share: share,
    };
    let events = stream::unfold(watcher, |watcher| async { watcher.next().await });
    let response: Response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    Ok(response)
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if self.over || *self.ending.borrow() {
                return None;
            }
            self.changed.borrow_and_update();
            if let Some(event) = self.look() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = self.ending.changed() => {}
            }
        }
    }

    /// What there is to tell, if it is new.
    fn look(&mut self) -> Option<Event> {
        let state = self.service.shared.lock();
        let found = state.projects.get(&self.project);
        if found.is_none_or(|p| p.idle(state.warden.is_some(), clock::now())) {
            self.over = true;
            return Some(Event::default().event("idle").data("{}"));
        }
        let progress = found.and_then(|p| p.progress().cloned());
        if progress.is_none() || progress == self.sent {
            return None;
        }
        let text = progress.as_ref().and_then(|p| serde_json::to_string(p).ok());
        let event = text.map(|text| Event::default().event("progress").data(text));
        self.sent = progress;
        event
    }
}
