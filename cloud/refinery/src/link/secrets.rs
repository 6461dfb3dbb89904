//! What a warden is given to hold: states to go on from, releases, orders, members.

use super::*;

/// Why a project waits that another warden took over.
fn retired(to: &Id) -> String {
    format!(
        "this warden handed the project over to warden {to}: start that one, with --take-over; if it is lost, and never \
         began, the owner may let this one go on with blindsmith forgive --lost {to}"
    )
}

impl Link {
    /// Gives a warden that starts the states that it or an earlier one sealed.
    pub(super) fn restore(&mut self, shared: &Shared) -> Result<(), FrameError> {
        let known: Vec<(Id, Arc<ProjectSpec>, u64)> = shared
            .lock()
            .projects
            .iter()
            .filter_map(|(id, p)| Some((*id, p.spec.clone(), p.rounds.last()?.round)))
            .collect();
        for (id, spec, round) in known {
            let read =
                || Ok((shared.store.round(&id, round)?.state, shared.store.holding(&id, &self.holder)?));
            let (state, holding) = match read() {
                Ok(read) => read,
                Err::<_, StoreError>(e) => {
                    warn!(project = %id, "{e}");
                    shared.update(&id, |p| {
                        p.ready = false;
                        p.failure = Some(e.to_string());
                    });
                    continue;
                }
            };
            let holding = Blob(holding.unwrap_or_default());
            self.send(&ToWarden::Restore { spec: (*spec).clone(), holding }, &[&state.0])?;
            let ready = match self.finish()? {
                (Outcome::Ready { retired, .. }, _) => Ok(retired),
                (Outcome::Refused { message }, _) => Err(message),
                _ => return Err(FrameError::Unexpected("not an answer to restore")),
            };
            let ready = match ready {
                Ok(retired) => {
                    // One that handed the project over may have to repeat that, and needs the orders for it.
                    self.send(&ToWarden::Stored { project: id, round }, &[])?;
                    // An order may have let it go on with the project.
                    Ok(self.members(shared, id)?.unwrap_or(retired))
                }
                Err(message) => Err(message),
            };
            self.holds(shared, &id, ready);
        }
        Ok(())
    }

    /// Takes note of whether this warden works for a project: it may have handed it over, or not be able to open it.
    fn holds(&mut self, shared: &Shared, project: &Id, successor: Result<Option<Id>, String>) {
        match &successor {
            Ok(Some(_)) => self.retired.insert(*project),
            _ => self.retired.remove(project),
        };
        let ready = successor.and_then(|to| to.map_or(Ok(()), |to| Err(retired(&to))));
        shared.update(project, |p| {
            p.ready = ready.is_ok();
            // Why a round failed stays to be read.
            if !p.failed() || !p.ready {
                p.failure = ready.err();
            }
        });
    }

    /// Tells the warden of an order that the owner gave now.
    pub(super) fn ordered(&mut self, shared: &Shared, project: Id, order: Vec<u8>) -> Result<(), FrameError> {
        let ready = shared.lock().projects.get(&project).is_some_and(|p| p.ready);
        // One that holds no secrets yet is told when it does.
        if !ready && !self.retired.contains(&project) {
            return Ok(());
        }
        if let Some(successor) = self.order(project, order)?
            && successor.is_some() == ready
        {
            self.holds(shared, &project, Ok(successor));
        }
        if let Some((to, back)) = self.successor.take() {
            shared.lock().jobs.push_back(Job::HandOver { to, back });
        }
        Ok(())
    }

    /// Tells the warden of the owner's orders and of the members that enrolled. As [`Link::order`], of the last order.
    fn members(&mut self, shared: &Shared, project: Id) -> Result<Option<Option<Id>>, FrameError> {
        let orders = shared.lock().projects.get(&project).map(|p| p.orders.clone()).unwrap_or_default();
        let mut retired = None;
        for order in orders {
            retired = self.order(project, order)?.or(retired);
        }
        let enrolments = match shared.store.enrolments(&project, &self.holder) {
            Ok(enrolments) => enrolments,
            Err(e) => {
                warn!(%project, "{e}");
                return Ok(retired);
            }
        };
        for (contributor, token) in enrolments {
            self.send(&ToWarden::Enrolled { project, contributor, token: Blob(token) }, &[])?;
            match self.finish()? {
                (Outcome::Enrolled { .. }, _) => {}
                (Outcome::Refused { message }, _) => warn!(%project, %contributor, "not enrolled: {message}"),
                _ => return Err(FrameError::Unexpected("not an answer to an enrolment")),
            }
        }
        Ok(retired)
    }

    /// The warden to which this one handed the project over, if it did, the order considered; none if it refuses the
    /// order.
    fn order(&mut self, project: Id, order: Vec<u8>) -> Result<Option<Option<Id>>, FrameError> {
        self.send(&ToWarden::Order { project, order: Blob(order) }, &[])?;
        match self.finish()? {
            (Outcome::Ordered { retired }, _) => Ok(Some(retired)),
            (Outcome::Refused { message }, _) => {
                warn!(%project, "the warden refuses an order: {message}");
                Ok(None)
            }
            _ => Err(FrameError::Unexpected("not an answer to an order")),
        }
    }

    /// Hands a release over; the record of round 0 is stored.
    pub(super) fn release(
        &mut self,
        shared: &Shared,
        project: &Id,
        release: Vec<u8>,
    ) -> Result<Result<Blob, String>, FrameError> {
        let found = shared.lock().projects.get(project).map(|p| (p.spec.clone(), p.rounds.is_empty()));
        let Some((spec, first)) = found else { return Ok(Err("no such project".into())) };
        let model = match shared.store.initial_model(project) {
            Ok(model) => model,
            Err(e) => return Ok(Err(e.to_string())),
        };
        self.send(&ToWarden::Release { spec: (*spec).clone(), release: Blob(release) }, &[&model])?;
        match self.finish()? {
            (Outcome::Ready { holding, confirmation, .. }, body) => {
                if let Err(e) = shared.store.hold(project, &self.holder, &holding.0) {
                    return Ok(Err(e.to_string()));
                }
                let mut record: RoundRecord = from_cbor(&body)?;
                (record.summary.at, record.summary.asked) = (now(), true);
                if first {
                    if let Err(e) = shared.store.save_round(project, &record, None) {
                        return Ok(Err(e.to_string()));
                    }
                    self.send(&ToWarden::Stored { project: *project, round: 0 }, &[])?;
                    shared.update(project, |p| p.record(&record));
                }
                shared.update(project, |p| {
                    p.ready = true;
                    p.failure = None;
                });
                Ok(Ok(confirmation))
            }
            (Outcome::Refused { message }, _) => Ok(Err(message)),
            _ => Err(FrameError::Unexpected("not an answer to a release")),
        }
    }
}
