//! Reads an event from a line, and writes what follows from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use blindsmith_identity::{Action, MemberRole, Order, PublicKey, Quota, SigningKey, sign_order};
use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_project::{Effect, Event, Failure, Now, Project, Refusal, Round, Task, Verdict};
use blindsmith_protocol::{
    Blob, Decision, Id, Layer, Progress, ProjectSpec, Quarantined, Reason, Role, RoundRecord, RoundSummary,
    Trigger, UploadHeader,
};

/// A project, and what a store would have of it.
pub struct Replay {
    project: Project,
    now: Now,
    names: BTreeMap<Id, char>,
    rounds_asked: u8,
    stored: Vec<(Durable, Now)>,
}

/// What a refinery stores.
enum Durable {
    Upload(UploadHeader),
    Verdict(Id, Verdict),
    Withdrawal(Id),
    Order(Order, Vec<u8>),
    Round(RoundRecord),
    Job(Option<u32>, Vec<u8>),
    JobDone(Vec<u8>),
}

/// A line's words: plain ones, and `name=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn word(&self, at: usize) -> &'a str {
        self.0.iter().filter(|word| !word.contains('=')).nth(at).copied().unwrap_or_default()
    }

    fn rest(&self, from: usize) -> String {
        self.0[from..].join(" ")
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value.parse().unwrap())
    }
}

fn owner() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

fn contributor(name: &str) -> PublicKey {
    let first = name.bytes().next().unwrap();
    SigningKey::from_seed(&[first; 32]).verifying()
}

fn spec(trigger: Trigger) -> ProjectSpec {
    ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: owner().verifying().into(),
        security: Security::Bits128,
        layers: vec![Layer { inputs: 6, outputs: 4, offload: None }],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 8,
        row_form: Encoding::new(8, 8, 32).unwrap(),
        column_form: Encoding::new(4, 32, 16).unwrap(),
        batch_rows: 32,
        trigger,
    }
}

fn failure(words: &Words<'_>) -> Result<(), Failure> {
    match words.word(1) {
        "ok" => Ok(()),
        "in-the-way" => Err(Failure::InTheWay(words.rest(2))),
        "refused" => Err(Failure::Refused(words.rest(2))),
        other => panic!("{other} is no end"),
    }
}

impl Default for Replay {
    fn default() -> Self {
        let project = Project::new(spec(Trigger::AT_ONCE));
        let (names, stored) = (BTreeMap::new(), Vec::new());
        Replay { project, now: Now::default(), names, rounds_asked: 0, stored }
    }
}

impl Replay {
    /// What follows from an event.
    pub fn run(&mut self, line: &str) -> String {
        let words = Words(line.split_whitespace().collect());
        let mut output = String::new();
        match self.event(&words) {
            Ok(effects) => {
                for effect in effects {
                    _ = writeln!(output, "effect: {}", self.effect(&effect));
                }
            }
            Err(refusal) => _ = writeln!(output, "refused: {refusal}"),
        }
        output + &self.state()
    }

    fn apply(&mut self, event: Event<'_>) -> Vec<Effect> {
        self.project.apply(event, self.now)
    }

    fn id(&mut self, name: &str) -> Id {
        let name = name.chars().next().unwrap();
        let known = self.names.iter().find(|(_, known)| **known == name);
        known.map_or(Id([name as u8; 32]), |(id, _)| *id)
    }

    fn ids(&mut self, list: Option<&str>) -> Vec<Id> {
        list.into_iter().flat_map(|list| list.split(',')).map(|name| self.id(name)).collect()
    }

    fn event(&mut self, words: &Words<'_>) -> Result<Vec<Effect>, Refusal> {
        let effects = match words.word(0) {
            "project" => {
                let number = |name| words.number(name);
                let trigger = Trigger {
                    rows: number("rows"),
                    daily: number("daily").map(|minute| minute as u16),
                    rounds_per_day: number("per-day").map(|most| most as u32),
                };
                *self = Replay { project: Project::new(spec(trigger)), now: self.now, ..Replay::default() };
                Vec::new()
            }
            "time" => {
                let seconds: f64 = words.word(1).parse().unwrap();
                self.now = Now { unix: seconds as u64, steady: Duration::from_secs_f64(seconds) };
                Vec::new()
            }
            "upload" | "judge" | "unreadable" | "withdraw" | "used" | "enrolled" => self.upload(words)?,
            "order" => self.order(words)?,
            "released" => self.apply(Event::Released),
            "ready" => self.apply(Event::WardenReady),
            "unable" => self.apply(Event::WardenUnable { why: words.rest(1) }),
            "gone" => self.apply(Event::WardenGone),
            "restart" => self.restart(),
            _ => self.round(words)?,
        };
        Ok(effects)
    }

    fn upload(&mut self, words: &Words<'_>) -> Result<Vec<Effect>, Refusal> {
        let upload = self.id(words.word(1));
        Ok(match words.word(0) {
            "upload" => {
                let name = words.word(1).chars().next().unwrap();
                let header = UploadHeader {
                    project: self.project.id(),
                    contributor: contributor(words.value("by").unwrap_or("owner")).into(),
                    nonce: [name as u8; 32],
                    role: if words.word(2) == "validation" { Role::Validation } else { Role::Training },
                    era: 0,
                    rows: words.number("rows").unwrap_or(8) as u32,
                    terms: [0; 32],
                    root: Id([4; 32]),
                    tag: [5; 32],
                };
                if !self.project.check_upload(&header)? {
                    return Ok(Vec::new());
                }
                self.names.insert(header.id(), name);
                self.stored.push((Durable::Upload(header.clone()), self.now));
                self.apply(Event::UploadStored { header, verdict: None })
            }
            "judge" => {
                let verdict = match words.word(2) {
                    "admitted" => Verdict::Admitted(Blob(vec![1])),
                    _ => Verdict::Refused(words.rest(3)),
                };
                self.stored.push((Durable::Verdict(upload, verdict.clone()), self.now));
                self.apply(Event::UploadJudged { upload, verdict })
            }
            "unreadable" => self.apply(Event::UploadUnreadable { upload, why: words.rest(2) }),
            "withdraw" => {
                let by = contributor(words.value("by").unwrap_or("owner")).into();
                self.project.check_withdrawal(&upload, &by)?;
                self.stored.push((Durable::Withdrawal(upload), self.now));
                self.apply(Event::UploadWithdrawn { upload })
            }
            "used" => {
                let range = |word: &&str| {
                    let (first, last) = word.split_once('-').unwrap();
                    (first.parse().unwrap(), last.parse().unwrap())
                };
                let rounds = words.0[2..].iter().map(range).collect();
                self.apply(Event::UsesFound { upload, rounds })
            }
            _ => {
                let contributor = contributor(words.word(1)).into();
                self.apply(Event::ContributorEnrolled(contributor))
            }
        })
    }

    fn order(&mut self, words: &Words<'_>) -> Result<Vec<Effect>, Refusal> {
        let action = match words.word(1) {
            "invite" => {
                let role = match words.word(3) {
                    "querier" => MemberRole::Querier,
                    "viewer" => MemberRole::Viewer,
                    _ => MemberRole::Contributor,
                };
                let quota = Quota {
                    rows: words.number("rows").unwrap_or(100),
                    uploads: words.number("uploads").unwrap_or(10) as u32,
                    ..Quota::default()
                };
                let member = contributor(words.word(2));
                Action::Invite { member, name: words.word(2).into(), role, quota }
            }
            "revoke" => Action::Revoke { member: contributor(words.word(2)) },
            "rollback" => Action::Rollback { version: words.word(2).parse().unwrap() },
            "readmit" => Action::Readmit { upload: self.id(words.word(2)) },
            _ => Action::Forgive,
        };
        let project = match words.word(1) {
            "elsewhere" => Id([9; 32]),
            _ => self.project.id(),
        };
        let mut order = self.project.roster().next(project, action);
        order.sequence += words.number("ahead").unwrap_or(0);
        let signer = if words.word(1) == "forged" { SigningKey::from_seed(&[6; 32]) } else { owner() };
        let signed = sign_order(&order, &signer);
        let order = self.project.check_order(&signed)?;
        self.stored.push((Durable::Order(order.clone(), signed.clone()), self.now));
        Ok(self.apply(Event::OrderStored { order: &order, signed }))
    }

    fn round(&mut self, words: &Words<'_>) -> Result<Vec<Effect>, Refusal> {
        Ok(match words.word(0) {
            "ask" => {
                self.project.check_round(words.word(1) != "nobody")?;
                self.apply(Event::RoundReserved);
                if words.word(1) == "unstored" {
                    return Ok(self.apply(Event::ReservationDropped));
                }
                self.rounds_asked += 1;
                let key = vec![self.rounds_asked];
                let epochs = words.number("epochs").map(|epochs| epochs as u32);
                self.stored.push((Durable::Job(epochs, key.clone()), self.now));
                self.apply(Event::RoundAsked { epochs, key })
            }
            "turn" => self.apply(Event::Turn),
            "progress" => {
                let [step, steps] = [1, 2].map(|at| words.word(at).parse().unwrap());
                let round = self.project.newest().unwrap_or(0) + 1;
                self.apply(Event::RoundProgressed(Progress { round, step, steps }))
            }
            "stored" => {
                let record = self.record(words);
                self.stored.push((Durable::Round(record.clone()), self.now));
                if let Some(key) = words.value("job") {
                    self.stored.push((Durable::JobDone(vec![key.parse().unwrap()]), self.now));
                }
                self.apply(Event::RoundStored(&record))
            }
            "ended" => self.apply(Event::RoundEnded(failure(words))),
            "lost" => self.apply(Event::RoundLost { why: words.rest(1) }),
            "rollback-ended" => self.apply(Event::RollbackEnded(failure(words))),
            other => panic!("{other} is no event"),
        })
    }

    fn record(&mut self, words: &Words<'_>) -> RoundRecord {
        let quarantined = self.ids(words.value("quarantined")).into_iter();
        let quarantined = quarantined.map(|upload| Quarantined { upload, reason: Reason::Worse }).collect();
        let decision = match words.value("decision") {
            Some("failed") => Decision::Failed { reason: "overflow".into() },
            Some("restored") => Decision::Restored { version: 0 },
            _ => Decision::Promoted,
        };
        let summary = RoundSummary {
            round: words.word(1).parse().unwrap(),
            decision,
            quarantined,
            orders: words.number("orders").unwrap_or(0),
            at: self.now.unix,
            seconds: words.number("seconds").unwrap_or(0) as f64,
            asked: words.0.contains(&"asked"),
            ..RoundSummary::default()
        };
        let given = self.ids(words.value("given"));
        let used = words.value("used").map_or(given.clone(), |list| self.ids(Some(list)));
        let blob = || Blob(vec![7]);
        RoundRecord { given, used, summary, state: blob(), model: blob(), receipt: blob() }
    }

    /// Another refinery starts from what is stored, in the order in which one reads its store.
    fn restart(&mut self) -> Vec<Effect> {
        self.project = Project::new((**self.project.spec()).clone());
        let stored = std::mem::take(&mut self.stored);
        let mut events = Vec::new();
        for (what, at) in &stored {
            if let Durable::Upload(header) = what {
                let id = header.id();
                let verdict = stored.iter().rev().find_map(|(what, _)| match what {
                    Durable::Verdict(upload, verdict) if *upload == id => Some(verdict.clone()),
                    _ => None,
                });
                events.push((Event::UploadStored { header: header.clone(), verdict }, *at));
            }
        }
        let others = |pick: fn(&Durable) -> Option<Event<'_>>| {
            stored.iter().filter_map(move |(what, at)| Some((pick(what)?, *at)))
        };
        events.extend(others(|what| match what {
            Durable::Withdrawal(upload) => Some(Event::UploadWithdrawn { upload: *upload }),
            _ => None,
        }));
        events.extend(others(|what| match what {
            Durable::Round(record) => Some(Event::RoundStored(record)),
            _ => None,
        }));
        events.extend(others(|what| match what {
            Durable::Order(order, signed) => Some(Event::OrderStored { order, signed: signed.clone() }),
            _ => None,
        }));
        for (what, at) in &stored {
            let done =
                |key: &Vec<u8>| stored.iter().any(|(d, _)| matches!(d, Durable::JobDone(k) if k == key));
            if let Durable::Job(epochs, key) = what
                && !done(key)
            {
                events.push((Event::RoundReserved, *at));
                events.push((Event::RoundAsked { epochs: *epochs, key: key.clone() }, *at));
            }
        }
        for (event, at) in events {
            self.project.apply(event, at);
        }
        self.stored = stored;
        Vec::new()
    }

    fn name(&self, upload: &Id) -> char {
        self.names.get(upload).copied().unwrap_or('?')
    }

    fn effect(&self, effect: &Effect) -> String {
        match effect {
            Effect::Tell { order, invited } => {
                let place = self.project.orders().iter().position(|known| known == order).unwrap() + 1;
                let invited = if invited.is_some() { ", which invites somebody" } else { "" };
                format!("tell the warden of order {place}{invited}")
            }
            Effect::Start(Task::Rollback { version }) => format!("go back to version {version}"),
            Effect::Start(Task::Admit { upload }) => format!("read upload {}", self.name(upload)),
            Effect::Start(Task::Round(Round { epochs, attempt, key, asked })) => {
                let epochs = epochs.map_or(String::new(), |epochs| format!(", {epochs} epochs"));
                let attempt = if *attempt > 0 { format!(", attempt {}", attempt + 1) } else { String::new() };
                match asked {
                    true => format!("run the round of job {}{epochs}{attempt}", key[0]),
                    false => format!("run a round by itself{attempt}"),
                }
            }
            Effect::EndJob => "remove the job".into(),
            Effect::ReturnJob { why } => format!("return the job: {why}"),
        }
    }

    /// The project as others see it.
    fn state(&self) -> String {
        let (p, now) = (&self.project, self.now);
        let mut text = String::new();
        let flags = [
            (p.ready(), "ready"),
            (p.failed(), "failed"),
            (p.due(now), "due"),
            (p.has_task(now), "has a task"),
            (p.obstructed(), "tries again"),
            (p.idle(true, now), "idle"),
        ];
        let flags: Vec<&str> = flags.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        let newest = p.newest().map_or("no round".to_owned(), |round| format!("round {round}"));
        let (unfinished, waiting) = (p.unfinished(), p.waiting());
        let queue = match unfinished {
            0 => String::new(),
            _ => format!("; {unfinished} unfinished, {waiting} waiting"),
        };
        let progress = p.progress().map_or(String::new(), |p| format!("; step {} of {}", p.step, p.steps));
        let flags = if flags.is_empty() { "busy".to_owned() } else { flags.join(", ") };
        _ = writeln!(text, "{newest}{queue}{progress}; {flags}");
        if let Some(failure) = p.failure() {
            _ = writeln!(text, "failure: {failure}");
        }
        for upload in p.uploads() {
            let state = format!("{:?}", upload.state()).to_lowercase();
            let new = if upload.is_new() { ", new" } else { "" };
            let unread = if upload.is_unread(now) { ", unread" } else { "" };
            let reason = upload.reason().map_or(String::new(), |reason| format!(": {reason}"));
            let used = upload.summary(0, p.spec()).used_in;
            let used = if used.is_empty() { String::new() } else { format!(", in rounds {used:?}") };
            _ = writeln!(text, "{} {state}{new}{unread}{used}{reason}", self.name(&upload.id()));
        }
        text
    }
}
