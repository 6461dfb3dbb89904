//! `blindsmith watch`: a project while it learns.

mod changes;
mod screen;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blindsmith_api::message::{ProjectStatus, UploadState};
use blindsmith_protocol::{Id, Progress};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde::Serialize;

use super::ProjectArguments;
use blindsmith_client::Keys;
use blindsmith_client::failure::unexpected;
use blindsmith_client::report::{Report, RoundReport, UploadReport};
use blindsmith_client::{ClientProject, Connection, Failure, Workspace};

/// How often the refinery is asked.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows a project while it learns: uploads, the round under way, decisions, speed and, if the directory has the
/// owner's key, the learning curve. `q` ends it. If standard output is no terminal, it prints one line for each change
/// instead.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith watch --project ./sales\n  blindsmith watch --project ./sales | tee training.log\n  blindsmith watch --project ./sales --json | jq .progress"
)]
pub struct Watch {
    #[command(flatten)]
    common: ProjectArguments,
}

/// What is shown at a time.
#[derive(Debug, Clone, Serialize)]
struct View {
    #[serde(flatten)]
    report: Report,
    /// The round under way.
    progress: Option<Progress>,
    /// Why what is shown is not the newest.
    trouble: Option<String>,
    /// Whether whoever watches holds the owner's key.
    #[serde(skip)]
    owner: bool,
}

impl View {
    /// The version that is current.
    fn current(&self) -> u64 {
        self.report.rounds.last().map_or(0, |r| r.current)
    }

    /// Uploads of a state, and their rows.
    fn uploads(&self, state: UploadState) -> (usize, u64) {
        let of = || self.report.uploads.iter().filter(|u| u.state == state);
        (of().count(), of().map(|u| u64::from(u.rows)).sum())
    }
}

/// Rows that a round trained on in a second; none for a round that took no time, such as round 0.
fn speed(round: &RoundReport) -> Option<f64> {
    (round.seconds > 0.0 && round.rows > 0).then(|| round.rows as f64 / round.seconds)
}

/// A state in one word.
fn state_word(state: UploadState) -> &'static str {
    match state {
        UploadState::Stored => "stored",
        UploadState::Admitted => "admitted",
        UploadState::Used => "used",
        UploadState::Refused => "refused",
        UploadState::Quarantined => "quarantined",
        UploadState::Withdrawn => "withdrawn",
    }
}

/// Every state, in the order of an upload's life.
const STATES: [UploadState; 6] = [
    UploadState::Stored,
    UploadState::Admitted,
    UploadState::Used,
    UploadState::Quarantined,
    UploadState::Refused,
    UploadState::Withdrawn,
];

/// An upload by the start of its identifier.
fn short(upload: &UploadReport) -> &str {
    upload.upload.get(..16).unwrap_or(&upload.upload)
}

/// Asks the refinery, and again after it was away.
struct Source {
    common: ProjectArguments,
    keys: Option<Keys>,
    project: ClientProject,
    connection: Option<Connection>,
    /// What the refinery told so far.
    status: Option<ProjectStatus>,
    progress: Arc<Mutex<Option<Progress>>>,
    /// Listens to the round under way on a connection of its own, which is silent between steps.
    listener: Option<JoinHandle<()>>,
}

impl Source {
    fn open(common: ProjectArguments) -> Result<Self, Failure> {
        let Workspace { project, connection, .. } = common.open()?;
        let keys = Keys::load_if_there(&common.project)?;
        let progress = Arc::default();
        Ok(Source {
            common,
            keys,
            project,
            connection: Some(connection),
            status: None,
            progress,
            listener: None,
        })
    }

    fn ask(&mut self) -> Result<View, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.common.open()?.connection,
        };
        connection.refresh(self.project.id(), &mut self.status)?;
        self.connection = Some(connection);
        let status = self.status.clone().ok_or_else(unexpected)?;
        let report = Report::new(status, &self.project, self.keys.as_ref())?;
        if report.busy {
            self.listen();
        }
        let known = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The last words of a round that has ended since are no news.
        let newest = report.rounds.last().map_or(0, |r| r.round);
        let progress = known.filter(|p| report.busy && p.round > newest);
        Ok(View { report, progress, trouble: None, owner: self.keys.is_some() })
    }

    /// The newest view: what was known and why it is not known better, where the refinery does not answer.
    fn update(&mut self, last: &View) -> View {
        self.ask().unwrap_or_else(|failure| View { trouble: Some(failure.to_string()), ..last.clone() })
    }

    fn listen(&mut self) {
        if self.listener.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (common, project, told) = (self.common.clone(), self.project.id(), self.progress.clone());
        // What it fails of, the next status tells.
        self.listener = Some(std::thread::spawn(move || _ = hear(&common, project, &told)));
    }
}

fn hear(common: &ProjectArguments, project: Id, told: &Mutex<Option<Progress>>) -> Result<(), Failure> {
    common.open()?.connection.follow(project, &mut |progress| {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
    })
}

impl Watch {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let json = self.common.json;
        let mut source = Source::open(self.common)?;
        // What does not work at once is an error; what breaks later may come back.
        let first = source.ask()?;
        if json || !std::io::stdout().is_terminal() {
            print(&mut source, first, json)
        } else {
            show(&mut source, first)
        }
    }
}

/// Prints what changes, for ever.
fn print(source: &mut Source, first: View, json: bool) -> Result<(), Failure> {
    let mut last: Option<View> = None;
    let mut view = first;
    let mut told = String::new();
    loop {
        if json {
            let text = serde_json::to_string(&view).map_err(|e| Failure::Other(e.to_string()))?;
            if text != told {
                println!("{text}");
                told = text;
            }
        } else {
            changes::lines(last.as_ref(), &view).iter().for_each(|line| println!("{line}"));
        }
        std::thread::sleep(PERIOD);
        let next = source.update(&view);
        last = Some(std::mem::replace(&mut view, next));
    }
}

/// Draws until somebody presses `q`.
fn show(source: &mut Source, mut view: View) -> Result<(), Failure> {
    let broken = |e: std::io::Error| Failure::Other(format!("the terminal: {e}"));
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let mut draw = || -> std::io::Result<()> {
        loop {
            terminal.draw(|frame| screen::draw(frame, &view))?;
            let due = Instant::now() + PERIOD;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                if !event::poll(left)? {
                    break;
                }
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => {
                        let interrupt =
                            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                        if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                            return Ok(());
                        }
                    }
                    Event::Resize(..) => {
                        terminal.draw(|frame| screen::draw(frame, &view))?;
                    }
                    _ => {}
                }
            }
            view = source.update(&view);
        }
    };
    let drawn = draw();
    ratatui::restore();
    drawn.map_err(broken)
}
