//! A view as a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Cell, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Sparkline, Table, Wrap,
};

use super::{STATES, View, short, speed, state_word};
use blindsmith_client::report::RoundReport;

/// Lines of uploads that were refused or set aside; more are counted.
const MOST_REASONS: usize = 3;
/// Steps between the lowest and the highest bar of a sparkline.
const BAR: f64 = 64.0;

const LOUD: Style = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws all of a view. Control characters of what the refinery says are not drawn (ratatui leaves them out).
pub(super) fn draw(frame: &mut Frame, view: &View) {
    let head = head(view);
    let uploads = uploads(view);
    let heights = [
        Constraint::Length(head.len() as u16),
        Constraint::Length(1),
        Constraint::Length(uploads.len() as u16 + 2),
        Constraint::Min(4),
        Constraint::Length(if view.owner { 11 } else { 3 }),
        Constraint::Length(1),
    ];
    let [top, progress, middle, rounds, curve, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    draw_progress(frame, progress, view);
    frame.render_widget(Paragraph::new(uploads).block(Block::bordered().title(" uploads ")), middle);
    frame.render_widget(table(view, rounds.height), rounds);
    draw_curve(frame, curve, view);
    frame.render_widget(Line::styled("q quits", FAINT), foot);
}

fn head(view: &View) -> Vec<Line<'_>> {
    let report = &view.report;
    let held = if report.ready { "secrets held" } else { "secrets not held" };
    let warden = match report.warden.as_deref() {
        None => Span::styled("no warden is connected", BAD),
        Some("simulated") => Span::styled(" warden SIMULATED: protects nothing ", LOUD),
        Some(tee) => Span::raw(format!("warden {tee}")),
    };
    let name = Span::styled(report.name.as_str(), Style::new().add_modifier(Modifier::BOLD));
    let id = report.project.get(..16).unwrap_or(&report.project);
    let current = format!("current version {}", view.current());
    let mut lines = vec![
        Line::from(vec![name, Span::styled(format!("  {id}"), FAINT), Span::raw(format!("  {current}"))]),
        Line::from(vec![warden, Span::raw(format!("  {held}"))]),
    ];
    if let Some(failure) = &report.failure {
        lines.push(Line::styled(format!("last round failed: {failure}"), BAD));
    }
    if let Some(trouble) = &view.trouble {
        lines.push(Line::styled(format!("not the newest: {trouble}"), LOUD));
    }
    lines
}

fn draw_progress(frame: &mut Frame, area: Rect, view: &View) {
    match &view.progress {
        Some(p) => {
            let ratio = (p.step as f64 / p.steps.max(1) as f64).clamp(0.0, 1.0);
            let more = if view.report.queued > 0 {
                format!(", {} more wait", view.report.queued)
            } else {
                String::new()
            };
            let label = format!("round {}: step {} of {}{more}", p.round, p.step, p.steps);
            let gauge = Gauge::default().ratio(ratio).label(label).gauge_style(Color::Blue);
            frame.render_widget(gauge, area);
        }
        None if view.report.busy => {
            frame.render_widget(Line::raw("a round is due: it starts as soon as the warden is free"), area);
        }
        None => frame.render_widget(Line::styled("no round is running or due", FAINT), area),
    }
}

fn uploads(view: &View) -> Vec<Line<'_>> {
    let mut counts = Vec::new();
    for state in STATES {
        let (count, rows) = view.uploads(state);
        if count > 0 {
            counts.push(format!("{} {count} ({rows} rows)", state_word(state)));
        }
    }
    if counts.is_empty() {
        counts.push("none yet: blindsmith push".into());
    }
    let mut lines = vec![Line::raw(counts.join("   "))];
    // The newest first: the first of a long series was read when it came.
    let told: Vec<_> = view.report.uploads.iter().rev().filter(|u| u.reason.is_some()).collect();
    for upload in told.iter().take(MOST_REASONS) {
        let reason = upload.reason.as_deref().unwrap_or_default();
        lines.push(Line::styled(format!("{} {}: {reason}", short(upload), state_word(upload.state)), BAD));
    }
    if told.len() > MOST_REASONS {
        lines.push(Line::raw(format!("and {} more: blindsmith status", told.len() - MOST_REASONS)));
    }
    lines
}

fn table(view: &View, height: u16) -> Table<'_> {
    let names = ["round", "decision", "version", "uploads", "rows", "rows/s", "loss", "accuracy", "why"];
    let room = usize::from(height).saturating_sub(3).max(1);
    let rounds = &view.report.rounds;
    let rows = rounds.iter().skip(rounds.len().saturating_sub(room)).map(row);
    let widths = [5, 11, 7, 7, 9, 8, 8, 8].map(Constraint::Length).into_iter().chain([Constraint::Min(10)]);
    let title = if rounds.len() > room { " rounds, the newest " } else { " rounds " };
    Table::new(rows, widths).header(Row::new(names).style(FAINT)).block(Block::bordered().title(title))
}

fn row(round: &RoundReport) -> Row<'_> {
    let figure = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.4}"));
    let validation = round.validation.as_ref().map(|figures| &figures.metrics);
    let rate = speed(round).map_or("-".into(), |rate| format!("{rate:.0}"));
    let style = match round.decision {
        "rolled-back" | "failed" => BAD,
        "promoted" => Style::new().fg(Color::Green),
        _ => Style::new(),
    };
    let set_aside = match round.quarantined.len() {
        0 => String::new(),
        n => format!("{n} quarantined"),
    };
    let why: Vec<&str> = [round.failure.as_deref().unwrap_or_default(), &set_aside]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    Row::new([
        Cell::from(round.round.to_string()),
        Cell::from(Span::styled(round.decision, style)),
        Cell::from(round.current.to_string()),
        Cell::from(round.uploads.to_string()),
        Cell::from(round.rows.to_string()),
        Cell::from(rate),
        Cell::from(figure(validation.map(|v| v.loss))),
        Cell::from(figure(validation.and_then(|v| v.accuracy))),
        Cell::from(why.join("; ")),
    ])
}

fn draw_curve(frame: &mut Frame, area: Rect, view: &View) {
    let block = Block::bordered().title(" learning curve ");
    if !view.owner {
        let text = "Figures are sealed to the owner: watch from the directory that holds owner.key.";
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), area);
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [left, right] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1)]).areas(inner);
    let points = |of: fn(&blindsmith_learn::Metrics) -> Option<f64>| -> Vec<(f64, f64)> {
        let figure = |r: &RoundReport| {
            Some((r.round as f64, r.validation.as_ref().and_then(|figures| of(&figures.metrics))?))
        };
        view.report.rounds.iter().filter_map(figure).filter(|(_, y)| y.is_finite()).collect()
    };
    let (loss, accuracy) = (points(|m| Some(m.loss)), points(|m| m.accuracy));
    if loss.is_empty() {
        frame.render_widget(Line::raw("no validation figures yet"), left);
    } else {
        let [loss_area, accuracy_area] = match accuracy.is_empty() {
            true => [left, Rect::ZERO],
            false => Layout::horizontal([Constraint::Fill(1); 2]).areas(left),
        };
        frame.render_widget(chart("validation loss", &loss, Color::Yellow), loss_area);
        if !accuracy.is_empty() {
            frame.render_widget(chart("validation accuracy", &accuracy, Color::Green), accuracy_area);
        }
    }
    draw_training(frame, right, view);
}

/// The training loss of each epoch, the newest that fit.
fn draw_training(frame: &mut Frame, area: Rect, view: &View) {
    let losses: Vec<f64> =
        view.report.rounds.iter().flat_map(|r| r.training_loss.iter().flatten()).copied().collect();
    let losses = &losses[losses.len().saturating_sub(usize::from(area.width))..];
    let [title, bars] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let Some(last) = losses.last() else {
        return frame.render_widget(Line::raw("no training yet"), title);
    };
    frame.render_widget(Line::raw(format!("training loss an epoch, now {last:.4}")), title);
    let highest = losses.iter().copied().filter(|l| l.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    // A bar's height is at least one, so that a loss of nothing is seen; what is no number stands as highest.
    let bar = |loss: &f64| if loss.is_finite() { (loss / highest * BAR).max(1.0) as u64 } else { BAR as u64 };
    let data: Vec<u64> = losses.iter().map(bar).collect();
    frame.render_widget(Sparkline::default().data(data).max(BAR as u64).style(Color::Cyan), bars);
}

fn chart<'a>(title: &'a str, points: &'a [(f64, f64)], colour: Color) -> Chart<'a> {
    let over = |of: fn(&(f64, f64)) -> f64| {
        points.iter().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((first, last), (low, high)) = (over(|p| p.0), over(|p| p.1));
    // One point, or a flat curve, still spans an area.
    let margin = ((high - low) * 0.1).max(high.abs() * 0.01).max(1e-6);
    let (from, to) = if first == last { (first - 1.0, last + 1.0) } else { (first, last) };
    let newest = points.last().map_or(0.0, |p| p.1);
    let data =
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(colour).data(points);
    let figure = |v: f64| Line::raw(format!("{v:.3}"));
    Chart::new(vec![data])
        .block(Block::new().title(format!("{title} {newest:.4}")))
        .legend_position(None)
        .x_axis(
            Axis::default()
                .bounds([from, to])
                .labels([Line::raw(format!("{first}")), Line::raw(format!("round {last}"))]),
        )
        .y_axis(
            Axis::default()
                .bounds([low - margin, high + margin])
                .labels([figure(low - margin), figure(high + margin)]),
        )
}

#[cfg(test)]
pub(super) mod tests {
    use blindsmith_api::message::UploadState;
    use blindsmith_client::figures::Figures;
    use blindsmith_learn::Metrics;
    use blindsmith_protocol::{Progress, Role};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use blindsmith_client::report::{Report, UploadReport};

    fn upload(name: &str, rows: u32, state: UploadState, reason: Option<&str>) -> UploadReport {
        UploadReport {
            upload: name.repeat(32),
            role: Role::Training,
            rows,
            bytes: 1000,
            contributor: "dd".repeat(32),
            state,
            refused: false,
            reason: reason.map(str::to_owned),
        }
    }

    fn round(round: u64, decision: &'static str, current: u64, figures: Option<(f64, f64)>) -> RoundReport {
        RoundReport {
            round,
            uploads: 2,
            rows: 200,
            steps: 40,
            seconds: 4.0,
            cloud_seconds: 1.0,
            cloud_cpu_seconds: 1.0,
            warden_seconds: 1.0,
            warden_cpu_seconds: 1.0,
            check_cpu_seconds: 0.1,
            traffic_bytes: 1,
            warden_peak_bytes: 1,
            decision,
            current,
            quarantined: vec![],
            withdrawn: vec![],
            trials: 1,
            at: 0,
            asked: false,
            failure: (decision == "rolled-back").then(|| "the loss rose".into()),
            loss_before: None,
            contributors: vec![],
            training_loss: figures.map(|_| vec![0.5, 0.3]),
            validation: figures.map(|(loss, accuracy)| Figures {
                metrics: Metrics { rows: 50, loss, accuracy: Some(accuracy), ..Metrics::default() },
                accuracy_interval: None,
                classes: vec![],
            }),
            gradient_noise: vec![],
        }
    }

    /// A project in round 3, as its owner or somebody else sees it.
    pub(in super::super) fn view(owner: bool) -> View {
        let figures = |loss, accuracy| owner.then_some((loss, accuracy));
        View {
            report: Report {
                project: "aa".repeat(32),
                name: "digits".into(),
                warden: Some("simulated".into()),
                ready: true,
                busy: true,
                queued: 0,
                orders: None,
                failure: None,
                uploads: vec![
                    upload("bb", 120, UploadState::Quarantined, Some("its labels contradict the model")),
                    upload("cc", 80, UploadState::Admitted, None),
                ],
                rounds: vec![
                    round(0, "promoted", 0, figures(2.3, 0.1)),
                    round(1, "promoted", 1, figures(0.4, 0.875)),
                    round(2, "rolled-back", 1, figures(0.9, 0.5)),
                ],
            },
            progress: Some(Progress { round: 3, step: 5, steps: 40 }),
            trouble: None,
            owner,
        }
    }

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>() + "\n";
        (0..height).map(line).collect()
    }

    #[test]
    fn the_owner_sees_everything() {
        let text = screen(&view(true), 120, 36);
        for part in [
            "digits  aaaaaaaaaaaaaaaa  current version 1",
            "warden SIMULATED: protects nothing",
            "secrets held",
            "round 3: step 5 of 40",
            "admitted 1 (80 rows)   quarantined 1 (120 rows)",
            "bbbbbbbbbbbbbbbb quarantined: its labels contradict the model",
            "rolled-back",
            "the loss rose",
            "0.8750",
            "validation loss 0.9000",
            "validation accuracy 0.5000",
            "training loss an epoch, now 0.3000",
            "q quits",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let speeds: Vec<&str> = text.lines().filter(|line| line.contains("promoted")).collect();
        assert!(speeds.iter().all(|line| line.contains(" 50 ")), "{text}");
        assert!(text.contains(['⠁', '⡠', '⢄', '⠢', '⡀', '⠑']), "a line is drawn in\n{text}");
    }

    #[test]
    fn without_the_key_no_figure_is_shown() {
        let text = screen(&view(false), 120, 30);
        assert!(text.contains("sealed to the owner"), "{text}");
        for figure in ["0.8750", "validation", "training loss"] {
            assert!(!text.contains(figure), "{figure} in\n{text}");
        }
    }

    #[test]
    fn trouble_and_failure_are_told() {
        let mut view = view(true);
        view.trouble = Some("no refinery answers".into());
        view.report.failure = Some("values left their range".into());
        view.report.warden = None;
        view.progress = None;
        let text = screen(&view, 120, 36);
        for part in [
            "not the newest: no refinery answers",
            "last round failed: values left their range",
            "no warden is connected",
            "a round is due",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn every_size_and_every_number_is_drawn() {
        let mut strange = view(true);
        strange.progress = Some(Progress { round: 3, step: u64::MAX, steps: 0 });
        strange.report.rounds[1].training_loss = Some(vec![f64::NAN, f64::INFINITY, 0.0, -1.0]);
        strange.report.rounds[2].validation.as_mut().unwrap().metrics.loss = f64::NAN;
        let mut empty = view(true);
        empty.report.rounds.clear();
        empty.report.uploads.clear();
        for view in [view(true), view(false), strange, empty] {
            for (width, height) in [(1, 1), (10, 3), (40, 12), (80, 24), (300, 100)] {
                screen(&view, width, height);
            }
        }
    }

    #[test]
    fn what_a_refinery_says_moves_no_cursor() {
        let mut view = view(true);
        view.report.name = "\x1b[2Jall is well\n".into();
        let text = screen(&view, 120, 36);
        assert!(!text.contains('\x1b') && text.contains("all is well"), "{text}");
    }
}
